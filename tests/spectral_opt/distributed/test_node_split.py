import threading
from collections.abc import Callable
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from torch import Tensor

from paramgraph import adjacency, laplacian, prepare_filter, tikhonov
from spectral_opt.distributed import NodeSplit, SplitFilter, SplitOperator
from spectral_opt.functional import decoupled_step
from spectral_opt.ranks import Ranks

NODES, WIDTH = 11, 3


class ThreadRanks(Ranks):
    """Ranks that are threads of this process; notes the shapes of what is added up."""

    def __init__(self, size: int) -> None:
        super().__init__()
        object.__setattr__(self, "threads", size)
        object.__setattr__(self, "barrier", threading.Barrier(size, timeout=20))
        object.__setattr__(self, "values", {})
        object.__setattr__(self, "shapes", [])

    def sum_(self, value: Tensor) -> Tensor:
        self.values[threading.get_ident()] = value.clone()
        self.barrier.wait()
        total = torch.stack(list(self.values.values())).sum(0)
        self.shapes.append(tuple(value.shape))
        self.barrier.wait()
        return value.copy_(total)


def on_ranks(size: int, run: Callable[[NodeSplit], Tensor], piece: int = 2) -> tuple[Tensor, list[Any]]:
    """Run on each rank as a thread, chunks as FSDP2 makes them; rows of all ranks come back in order."""
    ranks = ThreadRanks(size)
    owner = np.arange(NODES) // -(-NODES // size)
    results: dict[int, Tensor] = {}

    def rank(number: int) -> None:
        results[number] = run(NodeSplit(ranks, owner, np.flatnonzero(owner == number), piece))

    threads = [threading.Thread(target=rank, args=(number,)) for number in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == size
    return torch.cat([results[number] for number in range(size)]), ranks.shapes


def signal(dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(NODES, WIDTH, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(
        dtype
    )


GRAPHS = {
    "ring": nx.cycle_graph(NODES),
    "complete": nx.complete_graph(NODES),
    "star": nx.star_graph(NODES - 1),
    "no edges": nx.empty_graph(NODES),
    "two parts": nx.disjoint_union(nx.path_graph(5), nx.complete_graph(NODES - 5)),
}


# Seven ranks hold 2, 2, 2, 2, 2, 1 and 0 of 11 nodes.
@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("name", list(GRAPHS))
def test_products_of_parts_are_the_parts_of_the_product(name, size):
    operator = laplacian(GRAPHS[name])
    found, shapes = on_ranks(size, lambda split: SplitOperator(operator, split) @ signal()[split.nodes])
    torch.testing.assert_close(found, operator @ signal())
    assert all(rows <= 2 for rows, _ in shapes)


@pytest.mark.parametrize("size", [2, 7])
def test_only_nodes_with_a_neighbour_elsewhere_are_moved(size):
    operator = laplacian(GRAPHS["ring"])
    _, shapes = on_ranks(size, lambda split: SplitOperator(operator, split) @ signal()[split.nodes])
    used = -(-NODES // -(-NODES // size))
    # Two ends of each part of the ring, but one where a part is one node; each thread notes every sum.
    moved = sum(rows for rows, _ in shapes) // size
    assert moved == (4 if size == 2 else 2 * (used - 1) + 1)


def test_dense_operators_are_split_too():
    weights = signal() @ signal().T
    operator = adjacency(weights + weights.T)
    found, _ = on_ranks(3, lambda split: SplitOperator(operator, split) @ signal()[split.nodes])
    torch.testing.assert_close(found, operator @ signal())


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("options", [{"method": "exact"}, {"rank": 4}, {"rank": 4, "tail": 0}], ids=str)
@pytest.mark.parametrize("normalization", ["sym", "rw", None])
def test_filters_of_parts_are_the_parts_of_the_filter(size, options, normalization):
    graph_filter = prepare_filter(
        laplacian(GRAPHS["two parts"], normalization), tikhonov(gamma=2.0), **options
    )
    found, shapes = on_ranks(size, lambda split: SplitFilter(graph_filter, split)(signal()[split.nodes]))
    torch.testing.assert_close(found, graph_filter(signal()))
    assert all(rows <= 2 and width == WIDTH for rows, width in shapes)


@pytest.mark.parametrize("size", [2, 7])
@pytest.mark.parametrize("step", [0.01, 5.0])
def test_decoupled_steps_of_parts_are_the_parts_of_the_step(size, step):
    operator = laplacian(GRAPHS["complete"])
    expected, kind = decoupled_step(signal(), operator, 0.1, step)

    def run(split: NodeSplit) -> Tensor:
        moved, found = decoupled_step(signal()[split.nodes], SplitOperator(operator, split), 0.1, step)
        assert found == kind
        return moved

    found, _ = on_ranks(size, run)
    # Conjugate gradients stop at 1e-12 of the signal.
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_half_precision_is_summed_in_float32(dtype):
    graph_filter = prepare_filter(laplacian(GRAPHS["ring"]), tikhonov(gamma=2.0))
    found, _ = on_ranks(3, lambda split: SplitFilter(graph_filter, split)(signal(dtype)[split.nodes]))
    assert found.dtype == dtype
    # One rounding to the signal's own dtype; an order of sums may move it to the next number.
    expected = graph_filter(signal(dtype).float()).to(dtype)
    torch.testing.assert_close(found, expected, rtol=2 * torch.finfo(dtype).eps, atol=1e-6)
