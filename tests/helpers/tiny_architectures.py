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
LARGER = {"pixel_values": torch.linspace(-1, 1, 2 * 3 * 16 * 16).reshape(2, 3, 16, 16)}
TEXT_IMAGE = {**TEXT, **IMAGE}
WAVE = {"input_values": torch.linspace(-1, 1, 2 * 64).reshape(2, 64)}
SPECTRUM = {
    "input_features": torch.linspace(-1, 1, 2 * 8 * 16).reshape(2, 8, 16),
    "decoder_input_ids": BOTH["decoder_input_ids"],
}
SMALL = {"vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
ENCODER = {**SMALL, "intermediate_size": 64, "max_position_embeddings": 32}
# Two queries share a key and a value; a head of 16 is wider than hidden / heads.
DECODER = {**ENCODER, "num_key_value_heads": 2, "head_dim": 16}
# Two queries share a key and a value.
GROUPED = {**ENCODER, "num_key_value_heads": 2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
# Four experts, of which a token goes to two.
EXPERTS = {
    **GROUPED,
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 24,
    "shared_expert_intermediate_size": 24,
}
LATENT = {
    "num_key_value_heads": 4,
    "q_lora_rank": 8,
    "kv_lora_rank": 8,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 4,
    "v_head_dim": 8,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
}
STATES = {"vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 4}
SEQUENCES = {
    "vocab_size": 40,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 32,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 2,
}
TEXT_TO_TEXT = {
    "vocab_size": 40,
    "d_model": 32,
    "d_kv": 16,
    "d_ff": 64,
    "num_layers": 2,
    "num_decoder_layers": 3,
    "num_heads": 4,
    "decoder_start_token_id": 0,
}
BODY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
PATCHES = {**BODY, "image_size": 8, "patch_size": 4}
AUDIO = {
    **BODY,
    "vocab_size": 20,
    "conv_dim": (8, 8),
    "conv_kernel": (3, 3),
    "conv_stride": (2, 2),
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
}
TEXT_AND_IMAGE = {"text_config": GROUPED, "vision_config": PATCHES, "projection_dim": 16}
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
    "Mixtral": Architecture("MixtralForCausalLM", EXPERTS),
    "OLMoE": Architecture("OlmoeForCausalLM", EXPERTS),
    "Qwen2-MoE": Architecture("Qwen2MoeForCausalLM", EXPERTS),
    "Qwen3-MoE": Architecture("Qwen3MoeForCausalLM", {**EXPERTS, "head_dim": 16}),
    "gpt-oss": Architecture("GptOssForCausalLM", {**EXPERTS, "head_dim": 16}),
    "DeepSeek-V3": Architecture("DeepseekV3ForCausalLM", {**EXPERTS, **LATENT}),
    "Llama 4": Architecture("Llama4ForCausalLM", {**EXPERTS, "head_dim": 16, "intermediate_size_mlp": 48}),
    "Jamba": Architecture(
        "JambaForCausalLM",
        {
            **EXPERTS,
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
            "expert_layer_period": 2,
            "expert_layer_offset": 1,
            "mamba_d_state": 4,
            "mamba_dt_rank": 4,
        },
    ),
    "Granite MoE": Architecture("GraniteMoeForCausalLM", EXPERTS),
    "JetMoE": Architecture("JetMoeForCausalLM", {**EXPERTS, "kv_channels": 8, "num_key_value_heads": 2}),
    "DBRX": Architecture(
        "DbrxForCausalLM",
        {
            "vocab_size": 40,
            "d_model": 32,
            "n_heads": 4,
            "n_layers": 2,
            "max_seq_len": 32,
            "ffn_config": {"ffn_hidden_size": 24, "moe_num_experts": 4, "moe_top_k": 2},
            "attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0, "rope_theta": 10000.0},
        },
    ),
    "Phi-MoE": Architecture("PhimoeForCausalLM", EXPERTS),
    "MiniMax": Architecture(
        "MiniMaxForCausalLM",
        {**EXPERTS, "layer_types": ["full_attention", "linear_attention"], "block_size": 4, "head_dim": 16},
    ),
    "Switch": Architecture(
        "SwitchTransformersForConditionalGeneration",
        {**TEXT_TO_TEXT, "num_experts": 4, "num_sparse_encoder_layers": 1, "num_sparse_decoder_layers": 1},
        BOTH,
    ),
    "ELECTRA": Architecture("ElectraModel", {**ENCODER, "embedding_size": 16}),
    "MobileBERT": Architecture(
        "MobileBertModel",
        {
            **ENCODER,
            "embedding_size": 32,
            "intra_bottleneck_size": 16,
            "true_hidden_size": 16,
            "num_feedforward_networks": 2,
            "num_attention_heads": 2,
        },
    ),
    "XLM-RoBERTa": Architecture("XLMRobertaModel", {**ENCODER, "pad_token_id": 0}),
    "MPNet": Architecture("MPNetModel", {**ENCODER, "pad_token_id": 0}),
    "Longformer": Architecture("LongformerModel", {**ENCODER, "attention_window": 4, "pad_token_id": 0}),
    "BigBird": Architecture("BigBirdModel", {**ENCODER, "attention_type": "original_full"}),
    "XLNet": Architecture(
        "XLNetModel", {"vocab_size": 40, "d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 64}
    ),
    "FNet": Architecture("FNetModel", {**ENCODER}),
    "Funnel": Architecture(
        "FunnelModel",
        {
            "vocab_size": 40,
            "d_model": 32,
            "n_head": 4,
            "d_head": 8,
            "d_inner": 64,
            "block_sizes": [1, 1],
            "num_decoder_layers": 1,
        },
    ),
    "OPT": Architecture(
        "OPTForCausalLM",
        {
            "vocab_size": 40,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "ffn_dim": 64,
            "max_position_embeddings": 32,
            "word_embed_proj_dim": 32,
        },
    ),
    "GPT-J": Architecture("GPTJForCausalLM", {**MULTI, "rotary_dim": 4}),
    "GPT-Neo": Architecture(
        "GPTNeoForCausalLM",
        {
            "vocab_size": 40,
            "hidden_size": 32,
            "num_layers": 2,
            "num_heads": 4,
            "attention_types": [[["global", "local"], 1]],
            "max_position_embeddings": 32,
        },
    ),
    "CodeGen": Architecture("CodeGenForCausalLM", {**MULTI, "rotary_dim": 4}),
    "Phi": Architecture("PhiForCausalLM", GROUPED),
    "StableLM": Architecture("StableLmForCausalLM", GROUPED),
    "Cohere": Architecture("CohereForCausalLM", GROUPED),
    "OLMo": Architecture("OlmoForCausalLM", GROUPED),
    "OLMo 2": Architecture("Olmo2ForCausalLM", GROUPED),
    "Gemma 2": Architecture("Gemma2ForCausalLM", DECODER),
    "Gemma 3": Architecture("Gemma3ForCausalLM", DECODER),
    "SmolLM3": Architecture("SmolLM3ForCausalLM", GROUPED),
    "Granite": Architecture("GraniteForCausalLM", GROUPED),
    "Nemotron": Architecture("NemotronForCausalLM", {**GROUPED, "head_dim": 16}),
    "Mamba": Architecture("MambaForCausalLM", STATES),
    "Mamba 2": Architecture(
        "Mamba2ForCausalLM", {**STATES, "num_heads": 4, "head_dim": 16, "n_groups": 1, "chunk_size": 4}
    ),
    "Zamba 2": Architecture(
        "Zamba2ForCausalLM",
        {
            **GROUPED,
            "num_key_value_heads": 4,
            "layers_block_type": ["mamba", "hybrid"],
            "mamba_d_state": 4,
            "n_mamba_heads": 4,
            "mamba_headdim": 16,
            "mamba_ngroups": 1,
            "num_mem_blocks": 1,
            "chunk_size": 4,
            "adapter_rank": 4,
        },
    ),
    "Bamba": Architecture(
        "BambaForCausalLM",
        {
            **GROUPED,
            "mamba_n_heads": 4,
            "mamba_d_head": 16,
            "mamba_d_state": 4,
            "attn_layer_indices": [1],
            "mamba_chunk_size": 4,
        },
    ),
    "RecurrentGemma": Architecture(
        "RecurrentGemmaForCausalLM",
        {
            **ENCODER,
            "num_key_value_heads": 1,
            "head_dim": 16,
            "lru_width": 32,
            "attention_window_size": 8,
            "block_types": ["recurrent", "attention"],
        },
    ),
    "mBART": Architecture("MBartModel", SEQUENCES, BOTH),
    "Pegasus": Architecture("PegasusModel", SEQUENCES, BOTH),
    "mT5": Architecture("MT5Model", TEXT_TO_TEXT, BOTH),
    "UMT5": Architecture("UMT5Model", TEXT_TO_TEXT, BOTH),
    "LED": Architecture(
        "LEDModel",
        {
            **SEQUENCES,
            "attention_window": [4, 4],
            "max_encoder_position_embeddings": 32,
            "max_decoder_position_embeddings": 32,
        },
        BOTH,
    ),
    "M2M100": Architecture("M2M100Model", SEQUENCES, BOTH),
    "Whisper": Architecture(
        "WhisperModel",
        {**SEQUENCES, "num_mel_bins": 8, "max_source_positions": 8, "max_target_positions": 32},
        SPECTRUM,
    ),
    "Wav2Vec2": Architecture("Wav2Vec2Model", AUDIO, WAVE),
    "HuBERT": Architecture("HubertModel", AUDIO, WAVE),
    "Swin": Architecture(
        "SwinModel",
        {
            "image_size": 16,
            "patch_size": 2,
            "embed_dim": 16,
            "depths": [1, 1],
            "num_heads": [2, 4],
            "window_size": 4,
        },
        LARGER,
    ),
    "DeiT": Architecture("DeiTModel", PATCHES, IMAGE),
    "BEiT": Architecture("BeitModel", PATCHES, IMAGE),
    "ConvNeXt": Architecture(
        "ConvNextModel", {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2, "patch_size": 2}, LARGER
    ),
    "CLIP": Architecture("CLIPModel", TEXT_AND_IMAGE, TEXT_IMAGE),
    "SigLIP": Architecture("SiglipModel", TEXT_AND_IMAGE, TEXT_IMAGE),
    "BLIP": Architecture(
        "BlipModel", {**TEXT_AND_IMAGE, "text_config": {**GROUPED, "encoder_hidden_size": 32}}, TEXT_IMAGE
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
