"""A checkpoint of 4 GB is compared in the memory of a matrix and its graph, and not in that of the model."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import LlamaConfig

# As Llama 3.2 1B, with half of its layers and its output apart from the embedding.
HIDDEN, INNER, LAYERS, WORDS = 2048, 8192, 8, 131_072
WORK = """
import sys
from paramgraph import compare
found = compare(sys.argv[1], ["cosine_knn"], "weights", nulls=["permuted"], permutations=0, modes=16)
assert len(found.cells) == int(sys.argv[2]) and not found.failures, found
"""


@pytest.fixture
def large_checkpoint(tmp_path: Path) -> Path:
    """A Llama in float32, a shard for each layer, of which one is in memory at a time."""
    config = LlamaConfig(
        vocab_size=WORDS,
        hidden_size=HIDDEN,
        intermediate_size=INNER,
        num_hidden_layers=LAYERS,
        num_attention_heads=16,
        num_key_value_heads=4,
        tie_word_embeddings=False,
        architectures=["LlamaForCausalLM"],
    )
    config.save_pretrained(tmp_path)
    generator = torch.Generator().manual_seed(0)
    square, narrow = (HIDDEN, HIDDEN), (HIDDEN // 4, HIDDEN)
    shapes = {
        "self_attn.q_proj": square,
        "self_attn.k_proj": narrow,
        "self_attn.v_proj": narrow,
        "self_attn.o_proj": square,
        "mlp.gate_proj": (INNER, HIDDEN),
        "mlp.up_proj": (INNER, HIDDEN),
        "mlp.down_proj": (HIDDEN, INNER),
    }
    places = {}

    def save(number: int, shard: dict[str, torch.Tensor]) -> None:
        file = f"model-{number:05d}-of-{LAYERS + 2:05d}.safetensors"
        save_file(shard, tmp_path / file, {"format": "pt"})
        places.update(dict.fromkeys(shard, file))

    for layer in range(LAYERS):
        shard = {
            f"model.layers.{layer}.{name}.weight": torch.randn(shape, generator=generator)
            for name, shape in shapes.items()
        }
        for norm in ("input_layernorm", "post_attention_layernorm"):
            shard[f"model.layers.{layer}.{norm}.weight"] = torch.ones(HIDDEN)
        save(layer + 1, shard)
    save(
        LAYERS + 1,
        {"model.embed_tokens.weight": torch.zeros(WORDS, HIDDEN), "model.norm.weight": torch.ones(HIDDEN)},
    )
    save(LAYERS + 2, {"lm_head.weight": torch.zeros(WORDS, HIDDEN)})
    index = {"metadata": {}, "weight_map": places}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    return tmp_path


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="anonymous memory is read from /proc")
def test_checkpoint_of_4_gb_is_compared_in_less_than_1_5_gb(large_checkpoint: Path) -> None:
    size = sum(file.stat().st_size for file in large_checkpoint.glob("*.safetensors"))
    assert size > 4e9
    started, peak = time.monotonic(), 0
    command = [sys.executable, "-c", WORK, str(large_checkpoint), str(7 * LAYERS)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            peak = max(peak, anonymous_memory(process.pid))
            time.sleep(0.05)
        errors = process.stderr.read() if process.stderr else ""
    print(f"{size / 1e9:.2f} GB compared in {time.monotonic() - started:.0f} s, at most {peak / 1e9:.2f} GB")
    assert process.returncode == 0, errors
    assert peak < 1.5e9  # the figure to reach; files that are mapped are not counted


def anonymous_memory(process: int) -> int:
    """Bytes that belong to the process alone, and no file."""
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    except OSError:  # it has just ended
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon")), 0)
