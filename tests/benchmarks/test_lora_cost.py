"""What the method adds to the memory and to a step of LoRA r8 on a causal LM of SmolLM2's shape.

Run by `pytest tests/benchmarks/test_lora_cost.py -m bench -s` with OMP_WAIT_POLICY=passive and JAXTYPING_DISABLE=1,
on a machine that does nothing else. Memory: the largest resident size that Linux counts of a process of its own, of a
plain step, while graphs are built, and of a step with the hooks; freed memory is given back before each. Time: steps of
the same model with and without its hooks in turn, and the time in the hooks over the plain step beside it, median of
pairs.
LAYERS is SmolLM2's own number; with fewer the embedding and the logits weigh more, and the method less.
"""

import ctypes
import gc
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

pytestmark = pytest.mark.bench

LAYERS, SENTENCES, LENGTH, RANK, PAIRS = 30, 4, 128, 8, 7
# Shares of the plain run's memory, at attach and in a step, and of the time of a plain step.
MOST_AT_ATTACH, MOST_IN_A_STEP, MOST_TIME = 1.10, 1.05, 0.04
CASES: dict[str, dict[str, Any]] = {
    "filter and penalty": {},
    "filter": {"penalty": 0.0},
    "penalty": {"response": None},
}


def peak() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


def reset() -> None:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


def measure(layers: int, fields: dict[str, Any]) -> dict[str, float]:
    """Train a few steps, plain and with the hooks; MiB and seconds."""
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    from spectral_opt import SpectralConfig, attach

    torch.manual_seed(0)
    shape = {"vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": layers}
    heads = {"num_attention_heads": 9, "num_key_value_heads": 3, "tie_word_embeddings": True}
    model: Any = LlamaForCausalLM(LlamaConfig(**shape, **heads))
    model = get_peft_model(model, LoraConfig(r=RANK, target_modules="all-linear"))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)

    def batch(seed: int) -> dict[str, torch.Tensor]:
        source = torch.Generator().manual_seed(seed)
        tokens = torch.randint(0, 49152, (SENTENCES, LENGTH), generator=source)
        return {"input_ids": tokens, "labels": tokens}

    def step() -> float:
        started = time.perf_counter()
        optimizer.zero_grad()
        model(**batch(0)).loss.backward()
        optimizer.step()
        return time.perf_counter() - started

    def peak_of_a_step() -> int:
        step()
        reset()
        step()
        return peak()

    found: dict[str, float] = {"plain": peak_of_a_step()}
    reset()
    handle = attach(model, optimizer, SpectralConfig(**fields), batches=[batch(1), batch(2)])
    found["attach"] = peak()
    found["step"] = peak_of_a_step()
    found["told"] = handle.explanation.extra_bytes / 2**20
    pairs = []
    hooks = handle._hooks
    for _ in range(PAIRS):
        hooked = step()
        seconds = handle._steps.seconds
        # Without its hooks the same model takes the plain step.
        before, after = optimizer._optimizer_step_pre_hooks, optimizer._optimizer_step_post_hooks
        kept = dict(before), dict(after)
        before.clear()
        after.clear()
        plain = step()
        before.update(kept[0])
        after.update(kept[1])
        pairs.append((seconds / plain, hooked / plain - 1, plain))
    assert hooks is handle._hooks
    found["hooks"], found["whole"], found["seconds"] = (
        statistics.median(column) for column in zip(*pairs, strict=True)
    )
    return found


@pytest.mark.parametrize("name", list(CASES))
def test_memory_and_time_beside_a_plain_run(name):
    command = [sys.executable, __file__, str(LAYERS), json.dumps(CASES[name])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    attach, step = (found[key] / found["plain"] for key in ("attach", "step"))
    print(
        f"\n{name:<20} plain {found['plain']:.0f} MiB, at attach {attach:.3f} x, in a step {step:.3f} x, told "
        f"{found['told']:.0f} MiB; hooks {100 * found['hooks']:.1f} % of a step of {found['seconds']:.2f} s, whole "
        f"steps {100 * found['whole']:+.1f} %"
    )
    assert attach <= MOST_AT_ATTACH
    assert step <= MOST_IN_A_STEP
    assert found["hooks"] <= MOST_TIME


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]), json.loads(sys.argv[2]))))
