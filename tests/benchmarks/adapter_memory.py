"""What the method adds to the memory of a run of LoRA r8 on a causal LM, in a process of its own: its peak is asked.

Of Linux, which counts the largest resident size; freed memory is given back before each count.
"""

import ctypes
import gc
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

SENTENCES, LENGTH, RANK = 4, 128, 8
STATUS = Path("/proc/self/status")
# The shape of SmolLM2-135M, but for the number of layers.
SMOLLM2 = {"vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536}
HEADS = {"num_attention_heads": 9, "num_key_value_heads": 3, "tie_word_embeddings": True}


def measure(layers: int, shape: dict[str, int], adapted: bool = True) -> dict[str, float]:
    """Train plain steps and steps with filter and penalty; MiB at each, and the share of a step's time in the hooks.

    Where it is not `adapted`, of a full fine-tune: PEFT takes seconds to import.
    """
    from spectral_opt import SpectralConfig, attach

    model = causal_model(layers, shape, adapted)
    optimizer = trained_by(model)

    def step() -> float:
        started = time.perf_counter()  # as the hooks time themselves
        take_step(model, optimizer, random_batch(shape, 0))
        return time.perf_counter() - started

    def peak_of_a_step() -> tuple[int, float]:
        step()
        _reset()
        seconds = step()
        return _peak(), seconds

    plain, plain_seconds = peak_of_a_step()
    _reset()
    handle = attach(
        model, optimizer, SpectralConfig(), batches=[random_batch(shape, seed) for seed in (1, 2)]
    )
    at_attach = _peak()
    hooked, _ = peak_of_a_step()
    return {
        "MiB of a plain step": plain,
        "at attach": at_attach / plain,
        "in a step": hooked / plain,
        "time in the hooks": handle._steps.seconds / plain_seconds,
        "MiB that explain tells": handle.explanation.extra_bytes / 2**20,
    }


def causal_model(
    layers: int, shape: Mapping[str, int], adapted: bool = True
) -> Any:  # of transformers or PEFT
    """Draw a Llama of a shape, with LoRA r8 on all its linear layers where it is `adapted`."""
    from transformers import LlamaConfig, LlamaForCausalLM

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlamaForCausalLM(LlamaConfig(**shape, num_hidden_layers=layers, **HEADS))
        if not adapted:
            return model
        from peft import LoraConfig, get_peft_model

        return get_peft_model(model, LoraConfig(r=RANK, target_modules="all-linear"))


def trained_by(model: nn.Module) -> torch.optim.AdamW:
    """Make the optimizer of what is trained."""
    return torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)


def random_batch(shape: Mapping[str, int], seed: int) -> dict[str, Tensor]:
    """Draw tokens that are to be predicted."""
    source = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, shape["vocab_size"], (SENTENCES, LENGTH), generator=source)
    return {"input_ids": tokens, "labels": tokens}


def take_step(model: nn.Module, optimizer: torch.optim.Optimizer, batch: Mapping[str, Tensor]) -> None:
    """Take a step of training."""
    optimizer.zero_grad()
    model(**batch).loss.backward()
    optimizer.step()


def _peak() -> int:
    return int(STATUS.read_text().partition("VmHWM:")[2].split()[0]) // 1024


def _reset() -> None:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(measure(int(sys.argv[1]), SMOLLM2)))
