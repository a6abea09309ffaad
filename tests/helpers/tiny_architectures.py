"""Tiny random models of the architectures that node tables support, and two whole models without weights."""

import functools
import importlib
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

TEXT = {"input_ids": torch.arange(1, 13).reshape(2, 6)}
BOTH = {**TEXT, "decoder_input_ids": torch.arange(5, 15).reshape(2, 5)}
CROSS = {**TEXT, "encoder_hidden_states": torch.linspace(-1, 1, 2 * 4 * 32).reshape(2, 4, 32)}
IMAGE = {"pixel_values": torch.linspace(-1, 1, 2 * 3 * 8 * 8).reshape(2, 3, 8, 8)}
SMALL = {"vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
ENCODER = {**SMALL, "intermediate_size": 64, "max_position_embeddings": 32}
# Two queries share a key and a value; a head of 16 is wider than hidden / heads.
DECODER = {**ENCODER, "num_key_value_heads": 2, "head_dim": 16}
MULTI = {"vocab_size": 40, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 32}


class Architecture(NamedTuple):
    """A class of transformers, its configuration, and what to run it on."""

    model: str
    config: dict[str, Any]
    inputs: dict[str, Tensor] = TEXT


ARCHITECTURES = {
    "BERT": Architecture("BertForSequenceClassification", ENCODER),
    "RoBERTa": Architecture("RobertaForSequenceClassification", {**ENCODER, "pad_token_id": 0}),
    "DistilBERT": Architecture(
        "DistilBertModel", {"vocab_size": 40, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64}
    ),
    "ALBERT (shared layers)": Architecture("AlbertModel", {**ENCODER, "embedding_size": 16}),
    "DeBERTa": Architecture("DebertaModel", {**ENCODER, "relative_attention": False}),
    "ModernBERT": Architecture(
        "ModernBertModel", {**ENCODER, "pad_token_id": 0, "global_attn_every_n_layers": 1}
    ),
    "GPT-2": Architecture("GPT2LMHeadModel", MULTI),
    "GPT-2 (cross attention)": Architecture("GPT2LMHeadModel", {**MULTI, "add_cross_attention": True}, CROSS),
    "GPT-BigCode (multi-query)": Architecture("GPTBigCodeForCausalLM", MULTI),
    "GPT-BigCode (multi-head)": Architecture("GPTBigCodeForCausalLM", {**MULTI, "multi_query": False}),
    "GPT-NeoX": Architecture("GPTNeoXForCausalLM", ENCODER),
    "Bloom": Architecture(
        "BloomForCausalLM", {"vocab_size": 40, "hidden_size": 32, "n_layer": 2, "n_head": 4}
    ),
    "Falcon (grouped queries)": Architecture(
        "FalconForCausalLM", {**SMALL, "num_kv_heads": 2, "new_decoder_architecture": True}
    ),
    "Falcon (multi-query)": Architecture("FalconForCausalLM", {**SMALL, "multi_query": True}),
    "MPT": Architecture("MptForCausalLM", {"vocab_size": 40, "d_model": 32, "n_layers": 2, "n_heads": 4}),
    "Phi-3": Architecture("Phi3ForCausalLM", {**ENCODER, "num_key_value_heads": 2, "pad_token_id": 0}),
    "Llama": Architecture("LlamaForCausalLM", {**ENCODER, "num_key_value_heads": 2}),
    "Qwen2": Architecture("Qwen2ForCausalLM", {**ENCODER, "num_key_value_heads": 2}),
    "Qwen3": Architecture("Qwen3ForCausalLM", DECODER),
    "Mistral": Architecture("MistralForCausalLM", {**ENCODER, "num_key_value_heads": 1}),
    "Gemma": Architecture("GemmaForCausalLM", DECODER),
    "T5": Architecture(
        "T5ForConditionalGeneration",
        {
            "vocab_size": 40,
            "d_model": 32,
            "d_kv": 16,
            "d_ff": 64,
            "num_layers": 2,
            "num_decoder_layers": 3,
            "num_heads": 4,
            "decoder_start_token_id": 0,
        },
        BOTH,
    ),
    "BART": Architecture(
        "BartModel",
        {
            "vocab_size": 40,
            "d_model": 32,
            "encoder_layers": 2,
            "decoder_layers": 2,
            "encoder_attention_heads": 4,
            "decoder_attention_heads": 2,
            "encoder_ffn_dim": 64,
            "decoder_ffn_dim": 64,
            "max_position_embeddings": 32,
        },
        BOTH,
    ),
    "ViT": Architecture(
        "ViTForImageClassification",
        {**SMALL, "intermediate_size": 64, "image_size": 8, "patch_size": 4},
        IMAGE,
    ),
}
ARCHITECTURES["ViT"].config.pop("vocab_size")
# As published; their weights are not needed to know their nodes.
PUBLISHED = {
    "all-MiniLM-L6-v2": Architecture(
        "BertModel",
        {
            "vocab_size": 30522,
            "hidden_size": 384,
            "num_hidden_layers": 6,
            "num_attention_heads": 12,
            "intermediate_size": 1536,
        },
    ),
    "SmolLM2-135M": Architecture(
        "LlamaForCausalLM",
        {
            "vocab_size": 49152,
            "hidden_size": 576,
            "num_hidden_layers": 30,
            "num_attention_heads": 9,
            "num_key_value_heads": 3,
            "intermediate_size": 1536,
            "tie_word_embeddings": True,
        },
    ),
}


@functools.cache
def make(name: str) -> nn.Module:
    """Make a model by its name, the same object each time: leave it as it is."""
    architecture = ARCHITECTURES.get(name) or PUBLISHED[name]
    kind = getattr(importlib.import_module("transformers"), architecture.model)
    config = kind.config_class(**architecture.config)
    if name in PUBLISHED:
        with torch.device("meta"):
            return kind(config).eval()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return kind(config).eval()
