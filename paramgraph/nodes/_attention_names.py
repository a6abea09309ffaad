"""Names by which attention modules call their projections, their number of heads and a head's size."""

from collections.abc import Mapping

from torch import nn

SPLIT = (
    ("query", "key", "value"),
    ("q_proj", "k_proj", "v_proj"),
    ("q", "k", "v"),
    ("q_lin", "k_lin", "v_lin"),
    ("query_proj", "key_proj", "value_proj"),
    ("to_q", "to_k", "to_v"),
    ("wq", "wk", "wv"),
    ("q_proj_weight", "k_proj_weight", "v_proj_weight"),
    ("q_head", "k_head", "v_head"),
)
# Cross attention of GPT-2: a query of its own, keys and values fused.
QUERY_BESIDE_FUSED = ("q_attn", "c_attn")
# Multi-head latent attention: head by head, its key without positions and its value, out of one compression.
LATENT = (("q_b_proj", "kv_b_proj"), ("q_proj", "kv_b_proj"))
LATENT_KEY_SIZES = ("qk_nope_head_dim",)
LATENT_VALUE_SIZES = ("v_head_dim",)
# "blocked": all queries, then all keys, then all values. "grouped": for each key/value head, the queries that
# use it, its key, its value. "*" stands for every model type.
FUSED: Mapping[str, Mapping[str, str]] = {
    "c_attn": {"*": "blocked", "gpt_bigcode": "grouped"},
    "query_key_value": dict.fromkeys(
        ("bloom", "falcon", "gpt_neox", "gpt_neox_japanese", "persimmon"), "grouped"
    ),
    "qkv_proj": dict.fromkeys(("phi3", "phi4_multimodal"), "blocked"),
    "Wqkv": {"*": "blocked"},
    "qkv": {"*": "blocked"},
    "in_proj": {"deberta": "grouped"},
    "in_proj_weight": {"*": "blocked"},
}
OUTPUT = (
    "o_proj",
    "out_proj",
    "o",
    "c_proj",
    "dense",
    "out_lin",
    "wo",
    "Wo",
    "proj",
    "projection",
    "to_out.0",
    "to_out",
    "post_proj",
)
# BERT and LED keep the output projection beside the module that has the other three.
OUTPUT_BESIDE = ("output.dense", "output")
HEADS = ("num_attention_heads", "num_heads", "n_heads", "n_head", "nhead")
KEY_VALUE_HEADS = ("num_key_value_heads", "num_kv_heads", "n_kv_heads", "kv_n_heads")
HEAD_SIZES = ("head_dim", "head_size", "attention_head_size", "key_value_proj_dim", "d_kv")


def is_attention(module: nn.Module) -> bool:
    """Tell by its class whether a module calls itself attention."""
    return "attention" in type(module).__name__.lower()
