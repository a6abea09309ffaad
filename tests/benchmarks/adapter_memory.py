"""What the method adds to the memory of a run of LoRA r8 on a causal LM, in a process of its own: its peak is asked.

Of Linux, which counts the largest resident size; freed memory is given back before each count.
"""

import ctypes
import gc
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch

SENTENCES, LENGTH, RANK = 4, 128, 8
STATUS = Path("/proc/self/status")
# The shape of SmolLM2-135M, but for the number of layers.
SMOLLM2 = {"vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536}
HEADS = {"num_attention_heads": 9, "num_key_value_heads": 3, "tie_word_embeddings": True}


def measure(layers: int, shape: dict[str, int], adapted: bool = True) -> dict[str, float]:
    """Train plain steps and steps with filter and penalty; MiB at each, and the share of a step's time in the hooks.

    Where it is not `adapted`, of a full fine-tune: PEFT takes seconds to import.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    from spectral_opt import SpectralConfig, attach

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: Any = LlamaForCausalLM(LlamaConfig(**shape, num_hidden_layers=layers, **HEADS))
        if adapted:
            from peft import LoraConfig, get_peft_model

            model = get_peft_model(model, LoraConfig(r=RANK, target_modules="all-linear"))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)

    def batch(seed: int) -> dict[str, torch.Tensor]:
        source = torch.Generator().manual_seed(seed)
        tokens = torch.randint(0, shape["vocab_size"], (SENTENCES, LENGTH), generator=source)
        return {"input_ids": tokens, "labels": tokens}

    def step() -> float:
        started = time.perf_counter()  # as the hooks time themselves
        optimizer.zero_grad()
        model(**batch(0)).loss.backward()
        optimizer.step()
        return time.perf_counter() - started

    def peak_of_a_step() -> tuple[int, float]:
        step()
        _reset()
        seconds = step()
        return _peak(), seconds

    plain, plain_seconds = peak_of_a_step()
    _reset()
    handle = attach(model, optimizer, SpectralConfig(), batches=[batch(1), batch(2)])
    at_attach = _peak()
    hooked, _ = peak_of_a_step()
    return {
        "MiB of a plain step": plain,
        "at attach": at_attach / plain,
        "in a step": hooked / plain,
        "time in the hooks": handle._steps.seconds / plain_seconds,
        "MiB that explain tells": handle.explanation.extra_bytes / 2**20,
    }


def _peak() -> int:
    return int(STATUS.read_text().partition("VmHWM:")[2].split()[0]) // 1024


def _reset() -> None:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(measure(int(sys.argv[1]), SMOLLM2)))
