"""Is a checkpoint refined in less memory than it has? One record, large_refinement.json.

`python tutorials/records/make_large_refinement.py`, from the root of the repository, after `make install`: writes a
random Llama-shaped base of 4 GB and a fine-tune of it in several files each, refines it with memory="blocks", and reads
from outside what memory of its own the process had at most (RssAnon: pages that are in no file). Some minutes on an
idle core; 20 GB on the disk, in build/large and in TMPDIR, which go again.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from paramgraph.checkpoints import checkpoint_inventory, open_skeleton
from paramgraph.environment import hardware, versions
from paramgraph.whole_files import write_text
from spectral_opt import refine

RECORD, BUILD = Path("tutorials/records/large_refinement.json"), Path("build/large")
# As many weights in blocks and embeddings as a model of a billion has, in narrower and more blocks: a solve of n nodes
# takes n^2 operations a row.
SHAPE = {
    "vocab_size": 128_256,
    "hidden_size": 1024,
    "intermediate_size": 2048,
    "num_hidden_layers": 86,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "tie_word_embeddings": False,
}
SMALL = {
    **SHAPE,
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
}
TEXTS, TOKENS = 4, 32
SHARD_BYTES = 500_000_000
# How often the memory is read, in seconds.
EVERY = 0.02


def write_checkpoint(folder: Path, shape: dict[str, Any], seed: int, shift: float = 0.0) -> None:
    """Write a random model, file by file; a shift moves each weight to or fro, as a fine-tune does."""
    config = LlamaConfig(**shape, architectures=[LlamaForCausalLM.__name__], dtype="float32")
    config.save_pretrained(folder)
    places, shard, size, number = {}, {}, 0, 1

    def flush() -> None:
        save_file(shard, folder / f"model-{number:05d}.safetensors", {"format": "pt"})

    for name, value in weights(folder, seed, shift):
        if shard and size + value.nbytes > SHARD_BYTES:
            flush()
            shard, size, number = {}, 0, number + 1
        shard[name], places[name] = value, f"model-{number:05d}.safetensors"
        size += value.nbytes
    flush()
    index = {"metadata": {}, "weight_map": places}
    write_text(folder / "model.safetensors.index.json", json.dumps(index))


def weights(folder: Path, seed: int, shift: float) -> Iterator[tuple[str, Tensor]]:
    """Draw the weights that a description names."""
    generator, moved = (torch.Generator().manual_seed(seed + part) for part in (0, 1))
    for name, parameter in open_skeleton(folder).named_parameters():
        if parameter.ndim < 2:
            yield name, torch.ones(parameter.shape)
            continue
        value = torch.randn(parameter.shape, generator=generator) * parameter.shape[1] ** -0.5
        if shift:
            value += shift * torch.rand(parameter.shape, generator=moved).sub_(0.5)
        yield name, value


def batches(shape: dict[str, Any]) -> dict[str, list[dict[str, Tensor]]]:
    """Draw texts."""
    generator = torch.Generator().manual_seed(7)
    tokens = torch.randint(shape["vocab_size"], (TEXTS, TOKENS), generator=generator)
    return {
        "preserve": [{"input_ids": part, "attention_mask": torch.ones_like(part)} for part in tokens.split(2)]
    }


def refine_in_files(folder: Path, shape: dict[str, Any], graph: str) -> None:
    """Refine what was written; the process whose memory is read."""
    state = refine(
        folder / "base",
        folder / "tuned",
        "preserve",
        batches(shape),
        graph=graph,
        out=folder / "out",
        memory="blocks",
    )
    print(json.dumps({"memory": state.memory, "norm_kept": state.norm_kept, "skipped": len(state.skipped)}))


def watched(command: list[str]) -> tuple[dict[str, Any], int, float]:
    """Run a command; give what it prints, the most RssAnon that it had, in bytes, and the seconds that it took."""
    started, most = time.perf_counter(), 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii").splitlines()
            most = max(
                [most, *(int(line.split()[1]) * 1024 for line in status if line.startswith("RssAnon:"))]
            )
            time.sleep(EVERY)
        assert process.stdout is not None
        printed = process.stdout.read()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    return json.loads(printed.splitlines()[-1]), most, time.perf_counter() - started


def largest_difference(folder: Path, graph: str) -> float:
    """Refine a small model of the same kind in memory and in files; give the largest difference of a weight."""
    states = [
        refine(folder / "base", folder / "tuned", "preserve", batches(SMALL), graph=graph, memory=memory)
        for memory in ("whole", "blocks")
    ]
    return max(float((states[0][name] - states[1][name]).abs().max()) for name in states[0])


def measure(folder: Path, shape: dict[str, Any], graph: str) -> dict[str, Any]:
    """Write both checkpoints, refine in a process of its own, and say what it took."""
    small = folder / "small"
    try:
        for place, its_shape in ((folder, shape), (small, SMALL)):
            write_checkpoint(place / "base", its_shape, seed=0)
            write_checkpoint(place / "tuned", its_shape, seed=0, shift=0.02)
        base = checkpoint_inventory(folder / "base")
        found, most, seconds = watched(
            [
                sys.executable,
                __file__,
                "--graph",
                graph,
                "--folder",
                str(folder),
                "--refine",
                json.dumps(shape),
            ]
        )
        written = checkpoint_inventory(folder / "out")
        difference = largest_difference(small, graph)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {
        "shape": shape,
        "graph": graph,
        "texts": [TEXTS, TOKENS],
        "checkpoint_bytes": base.size,
        "checkpoint_files": base.files,
        "written_bytes": written.size,
        "written_files": written.files,
        "peak_rss_anon_bytes": most,
        "seconds": seconds,
        **found,
        "largest_difference_of_a_small_one_in_memory": difference,
        "versions": versions(),
        "hardware": hardware(),
    }


def main() -> None:
    """Make the record, or, in the process that is watched, refine."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--graph", default="columns")
    parser.add_argument("--folder", type=Path, default=BUILD)
    parser.add_argument("--refine", type=json.loads, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.refine:
        refine_in_files(given.folder, given.refine, given.graph)
        return
    write_text(RECORD, json.dumps(measure(given.folder, SHAPE, given.graph), indent=2) + "\n")


if __name__ == "__main__":
    main()
