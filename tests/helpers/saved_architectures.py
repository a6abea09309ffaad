"""Tiny random models whose files have other names than their modules, or other tensors, and some that have the same."""

import functools

import torch
import transformers
from torch import nn
from transformers.utils import logging

BODY = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
TEXT = {**BODY, "vocab_size": 40, "max_position_embeddings": 32, "pad_token_id": 0}
DECODER = {**TEXT, "num_key_value_heads": 2, "bos_token_id": 1, "eos_token_id": 2}
IMAGE = {**BODY, "image_size": 8, "patch_size": 4}
EXPERTS = {
    **DECODER,
    "num_experts": 3,
    "num_local_experts": 3,
    "n_routed_experts": 3,
    "num_experts_per_tok": 1,
    "moe_intermediate_size": 8,
    "shared_expert_intermediate_size": 8,
}
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
SEQUENCES = {
    "vocab_size": 60,
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 16,
    "decoder_ffn_dim": 16,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 2,
}
ROTATED = {**DECODER, "rope_scaling": {"rope_type": "default", "mrope_section": [1, 1, 0]}}
LATENT = {
    "n_group": 1,
    "topk_group": 1,
    "q_lora_rank": 8,
    "kv_lora_rank": 8,
    "qk_rope_head_dim": 4,
    "v_head_dim": 4,
    "qk_nope_head_dim": 4,
    "first_k_dense_replace": 1,
}
VISUAL = {"depth": 1, "embed_dim": 16, "hidden_size": 16, "num_heads": 2, "mlp_ratio": 2, "patch_size": 4}
WINDOWS = {
    "image_size": 16,
    "patch_size": 2,
    "embed_dim": 8,
    "depths": [1, 1],
    "num_heads": [2, 2],
    "window_size": 4,
}
STAGES = {
    "hidden_sizes": [8, 16],
    "depths": [1, 1],
    "num_encoder_blocks": 2,
    "num_attention_heads": [1, 2],
    "sr_ratios": [2, 1],
    "patch_sizes": [3, 3],
    "strides": [2, 2],
    "mlp_ratios": [2, 2],
    "decoder_hidden_size": 8,
}

# Class, and what its configuration is made of.
RENAMED = {
    "GPTNeoXForCausalLM": TEXT,
    "ViTModel": IMAGE,
    "ViTForImageClassification": IMAGE,
    "DeiTForImageClassification": IMAGE,
    "BeitForImageClassification": {**IMAGE, "use_shared_relative_position_bias": True},
    "Dinov2ForImageClassification": {**IMAGE, "use_swiglu_ffn": True},
    "SwinModel": WINDOWS,
    "SegformerForImageClassification": STAGES,
    "EsmForMaskedLM": TEXT,
    "MixtralForCausalLM": EXPERTS,
    "Qwen2MoeForCausalLM": EXPERTS,
    "OlmoeForCausalLM": EXPERTS,
    "Qwen3MoeForCausalLM": EXPERTS,
    "DeepseekV3ForCausalLM": {**EXPERTS, **LATENT, "num_key_value_heads": 4},
    "JambaForCausalLM": {
        **EXPERTS,
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "expert_layer_period": 1,
        "expert_layer_offset": 0,
        "mamba_d_state": 4,
        "mamba_dt_rank": 4,
        "use_mamba_kernels": False,
    },
    "LlavaForConditionalGeneration": {
        "text_config": {"model_type": "llama", **DECODER},
        "vision_config": IMAGE,
    },
    "Gemma3ForConditionalGeneration": {
        "text_config": {**DECODER, "head_dim": 4},
        "vision_config": IMAGE,
        "mm_tokens_per_image": 4,
    },
    "Qwen2VLForConditionalGeneration": {"text_config": ROTATED, "vision_config": VISUAL},
}
PLAIN = {
    "BertForMaskedLM": TEXT,
    "LlamaForCausalLM": DECODER,
    "GptOssForCausalLM": {**EXPERTS, "head_dim": 4},
    "Llama4ForCausalLM": {**EXPERTS, "head_dim": 4, "intermediate_size_mlp": 32},
    "Qwen2ForCausalLM": {**DECODER, "tie_word_embeddings": True},
    "GPT2LMHeadModel": {"vocab_size": 40, "n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 32},
    "T5ForConditionalGeneration": {
        "vocab_size": 40,
        "d_model": 16,
        "d_kv": 4,
        "d_ff": 32,
        "num_layers": 2,
        "num_heads": 4,
    },
    "BartForConditionalGeneration": SEQUENCES,
    "WhisperForConditionalGeneration": {**SEQUENCES, "num_mel_bins": 8},
    "CLIPModel": {"text_config": TEXT, "vision_config": IMAGE, "projection_dim": 8},
    "Wav2Vec2ForCTC": AUDIO,
    "MambaForCausalLM": {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "state_size": 4},
}
SAVED = {**RENAMED, **PLAIN}


@functools.cache
def make_saved(name: str, seed: int = 0) -> nn.Module:
    """Make a model by its class, the same object each time: leave it as it is."""
    kind = getattr(transformers, name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: nn.Module = kind(kind.config_class(**SAVED[name])).eval()
        with torch.no_grad():  # parameters that begin as zeros or ones differ as well
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape))
    return model


def save(model: nn.Module, folder) -> None:
    """Write a model as `save_pretrained` does, without its progress bar."""
    logging.disable_progress_bar()
    model.save_pretrained(folder)
