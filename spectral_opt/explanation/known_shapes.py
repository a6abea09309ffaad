"""Shapes of language models by their sizes, for plans of models that are not at hand."""

import json
import tempfile
from pathlib import Path
from typing import Any

from torch import nn

from paramgraph.checkpoints import open_skeleton

_DECODER = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "tie_word_embeddings": False}
_OF_EXPERTS = _DECODER | {"model_type": "mixtral", "architectures": ["MixtralForCausalLM"]}
# Those of Llama 2 7B and Llama 3 70B, and a mixture of 384 experts as wide and deep as Kimi K2.
SHAPES: dict[str, dict[str, Any]] = {
    "7B": _DECODER
    | {"vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008}
    | {"num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32},
    "70B": _DECODER
    | {"vocab_size": 128256, "hidden_size": 8192, "intermediate_size": 28672}
    | {"num_hidden_layers": 80, "num_attention_heads": 64, "num_key_value_heads": 8},
    "1T": _OF_EXPERTS
    | {"vocab_size": 163840, "hidden_size": 7168, "intermediate_size": 2048}
    | {"num_hidden_layers": 61, "num_attention_heads": 64, "num_key_value_heads": 8}
    | {"num_local_experts": 384, "num_experts_per_tok": 8},
}


def open_shape(name: str) -> nn.Module:
    """Make the modules of a model of `SHAPES` on the meta device; KeyError for another name."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text(json.dumps(SHAPES[name]), encoding="utf-8")
        return open_skeleton(folder)
