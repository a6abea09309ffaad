"""What filter and penalty take on an accelerator: `make bench-gpu`, in under five minutes, into one record.

Steps of causal LMs in bfloat16 with random weights, with and without the method, in turn; whether anything in the hooks
waits for the device; whether a step is captured in a CUDA graph and a filter compiled in one piece; and the graph of a
large matrix where its features lie. Without an accelerator it says so and measures nothing.
"""

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from paramgraph import CosineKNN, graph_from_scipy, laplacian, prepare_filter, tikhonov
from paramgraph.environment import hardware, versions
from paramgraph.whole_files import write_text
from spectral_opt import SpectralConfig, attach

from benchmarks.contest import digits

# The shapes of SmolLM2-135M and of Llama 3.2 1B.
SHAPES: dict[str, dict[str, int]] = {
    "135M": {
        "vocab_size": 49152,
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
    },
    "1B": {
        "vocab_size": 128256,
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
    },
}
DEGREE = 10


def random_edges(data: Data) -> Data:
    """Link nodes at random, ten links a node: what a step costs is that of any such graph, and none is searched for."""
    nodes = int(data.num_nodes)
    pairs = np.random.default_rng(0).integers(nodes, size=(2, DEGREE * nodes // 2))
    different = pairs[:, pairs[0] != pairs[1]]
    once = sp.csr_array((np.ones(different.shape[1]), tuple(different)), shape=(nodes, nodes))
    return graph_from_scipy(once + once.T)


GRAPH: dict[str, Any] = {"builder": random_edges, "source": "weights", "rank": 32, "filter_method": "lowrank"}
CASES: dict[str, dict[str, Any]] = {
    "filter": {"penalty": 0.0},
    "penalty": {"response": None, "penalty": 1e-3},
    "filter and penalty": {"penalty": 1e-3},
}
BATCH, LENGTH, PAIRS = 8, 512, 8
ROWS, COLUMNS = 4096, 14336


def causal(shape: dict[str, int], device: str, dtype: torch.dtype) -> nn.Module:
    """Make a Llama of this shape with random weights on a device."""
    from transformers import LlamaConfig, LlamaForCausalLM

    with torch.random.fork_rng(), torch.device(device):
        torch.manual_seed(0)
        model: nn.Module = LlamaForCausalLM(LlamaConfig(**shape, tie_word_embeddings=True)).to(dtype)
    return model


def measure_steps(
    shape: dict[str, int],
    device: str,
    dtype: torch.dtype,
    fields: dict[str, Any],
    pairs: int = PAIRS,
    length: int = LENGTH,
) -> dict[str, Any]:
    """Time steps with and without the hooks in turn, and find out whether the hooks wait for the device."""
    model = causal(shape, device, dtype)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    source = torch.Generator().manual_seed(0)
    words = torch.randint(0, shape["vocab_size"], (BATCH, length), generator=source).to(device)

    def step() -> None:
        model(input_ids=words, labels=words).loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)

    step()
    started = time.perf_counter()
    handle = attach(model, optimizer, SpectralConfig(**(GRAPH | fields)))
    _wait(device)
    attached = time.perf_counter() - started
    step()
    step()
    model(input_ids=words, labels=words).loss.backward()
    waits = _waits(device, optimizer.step)
    times: dict[str, list[float]] = {"plain": [], "hooked": []}
    for _ in range(pairs):
        times["hooked"].append(_seconds(device, step))
        with _without_hooks(optimizer):
            times["plain"].append(_seconds(device, step))
    shares = [hooked / plain - 1 for hooked, plain in zip(times["hooked"], times["plain"], strict=True)]
    low, middle, high = statistics.quantiles(shares, n=4, method="inclusive")
    found = {
        "tables": len(handle._steps.tables),
        "seconds to attach": digits(attached),
        "plain step, seconds": digits(statistics.median(times["plain"])),
        "added share": {"median": digits(middle), "low": digits(low), "high": digits(high), "pairs": pairs},
        "waits for the device": waits,
    }
    handle.remove()
    return found


@contextmanager
def _without_hooks(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Take the plain step of the same model: its hooks are put aside and back."""
    hooks = optimizer._optimizer_step_pre_hooks, optimizer._optimizer_step_post_hooks
    kept = [dict(one) for one in hooks]
    for one in hooks:
        one.clear()
    try:
        yield
    finally:
        for one, entries in zip(hooks, kept, strict=True):
            one.update(entries)


def _waits(device: str, run: Callable[[], object]) -> str:
    """Say what CUDA says of the first thing that waits in a run, or "nothing"; "not asked" elsewhere."""
    if not device.startswith("cuda"):
        run()
        return "not asked"
    torch.cuda.set_sync_debug_mode("error")
    try:
        run()
    except RuntimeError as error:
        return str(error).splitlines()[0]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return "nothing"


def capture_step() -> str:
    """Capture a hooked step in a CUDA graph, and hold what its replay does against the step itself."""
    generator = torch.Generator(device="cuda").manual_seed(0)
    model = nn.Linear(256, 192, bias=False, device="cuda")
    other = copy.deepcopy(model)
    optimizers = []
    for one in (model, other):
        optimizer = torch.optim.AdamW(one.parameters(), lr=1e-2, capturable=True)
        attach(one, optimizer, SpectralConfig(**(GRAPH | {"penalty": 1e-2})))
        one.weight.grad = torch.randn(192, 256, device="cuda", generator=generator)
        optimizers.append(optimizer)
    other.weight.grad.copy_(model.weight.grad)
    fresh = model.weight.grad.clone()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            model.weight.grad.copy_(fresh)
            optimizers[0].step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            model.weight.grad.copy_(fresh)
            optimizers[0].step()
    except RuntimeError as error:
        return f"not captured: {str(error).splitlines()[0]}"
    for _ in range(2):
        graph.replay()
    for _ in range(5):  # three before the capture, which itself takes none, and two replays
        other.weight.grad.copy_(fresh)
        optimizers[1].step()
    torch.testing.assert_close(model.weight, other.weight)
    return "captured; its replays are the steps"


def compile_filter(device: str, backend: str = "inductor") -> str:
    """Compile a filter in one piece, and hold it against itself."""
    graph = CosineKNN(k=5)(Data(x=torch.randn(256, 16, generator=torch.Generator().manual_seed(0))))
    smooth = prepare_filter(laplacian(graph), tikhonov(1.0), "lowrank", rank=16)
    X = torch.randn(256, 64, generator=torch.Generator().manual_seed(1)).to(device)
    expected = 2 * smooth(X, check=False)

    def twice(signal: Tensor) -> Tensor:
        return 2 * smooth(signal, check=False)

    found = torch.compile(twice, backend=backend, fullgraph=True)(X)
    torch.testing.assert_close(found, expected)
    return "compiled in one piece"


def build_graph(device: str, rows: int = ROWS, columns: int = COLUMNS) -> dict[str, float]:
    """Build the graph of a large matrix where it lies, and from a copy on the CPU."""
    x = torch.randn(rows, columns, generator=torch.Generator().manual_seed(0))
    seconds, graphs = {}, []
    for place in (device, "cpu"):
        data = Data(x=x.to(place), num_nodes=rows)
        started = time.perf_counter()
        graphs.append(CosineKNN(k=10)(data))
        _wait(place)
        seconds[f"seconds, features on {place}"] = digits(time.perf_counter() - started)
    assert torch.equal(graphs[0].edge_index.cpu(), graphs[1].edge_index)
    return seconds


def _seconds(device: str, run: Callable[[], object]) -> float:
    _wait(device)
    started = time.perf_counter()
    run()
    _wait(device)
    return time.perf_counter() - started


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def measure_accelerator() -> dict[str, Any]:
    """Measure all of it on the first CUDA device."""
    started = time.perf_counter()
    found: dict[str, Any] = {
        "schema": 1,
        "device": torch.cuda.get_device_name(),
        "versions": versions() | {"cuda": str(torch.version.cuda)},
        "hardware": hardware(),
        "steps": {
            size: {
                name: measure_steps(shape, "cuda", torch.bfloat16, fields) for name, fields in CASES.items()
            }
            for size, shape in SHAPES.items()
        },
        "capture": capture_step(),
        "compile": compile_filter("cuda"),
        f"graph of {ROWS} x {COLUMNS}": build_graph("cuda"),
    }
    return found | {"seconds": round(time.perf_counter() - started, 1)}


def main() -> None:
    """Write the record, or say that there is nothing to measure on."""
    parser = argparse.ArgumentParser(
        prog="accelerator", description="Measure steps and graphs on an accelerator."
    )
    parser.add_argument("--record", type=Path, required=True, help="the file to write")
    asked = parser.parse_args()
    if not torch.cuda.is_available():
        print("no accelerator here: nothing was measured, and nothing is claimed")
        return
    record = measure_accelerator()
    asked.record.parent.mkdir(parents=True, exist_ok=True)
    write_text(asked.record, json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
