"""Time of eigenpairs and filters beside their peers and floors; every result is checked where it is timed.

Run by `make bench`. Pairs are interleaved (A B A B ...) because a shared machine drifts by a factor of two within
minutes: the ratio of a pair holds, a single time does not.
"""

import statistics
import time
from collections.abc import Callable

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.sparse.linalg as spla
import torch
from torch_geometric.data import Data

from paramgraph import CosineKNN, eigenpairs, laplacian, prepare_filter, tikhonov

pytestmark = pytest.mark.bench


def median_ratio(first: Callable[[], object], second: Callable[[], object], pairs: int = 20) -> float:
    """Median over interleaved pairs of the time of `first` over that of `second`."""
    ratios = []
    for _ in range(pairs):
        times = []
        for run in (first, second):
            started = time.perf_counter()
            run()
            times.append(time.perf_counter() - started)
        ratios.append(times[0] / times[1])
    return statistics.median(ratios)


def report(benchmark, name: str, ratio: float) -> None:
    """Keep a ratio in the benchmark's JSON, and show it: the table of times has no column for it."""
    benchmark.extra_info[name] = ratio
    print(f"\n{benchmark.name}: {ratio:.2f} x {name}")


def knn_laplacian(nodes: int, width: int = 64):
    x = torch.randn(nodes, width, generator=torch.Generator().manual_seed(0))
    return laplacian(CosineKNN(k=20)(Data(x=x, num_nodes=nodes)))


@pytest.mark.parametrize("nodes", [1000, 5000])
def test_eigenpairs_of_a_neighbour_graph_beside_plain_scipy(benchmark, nodes):
    L = knn_laplacian(nodes)
    flipped = 2 * sp.eye_array(nodes, format="csr") - L.to_scipy()
    start = np.random.default_rng(0).standard_normal(nodes)

    def ours():
        return eigenpairs(L, k=16).eigenvalues.numpy()

    def plain():
        return np.sort(
            2 - spla.eigsh(flipped, k=16, which="LA", v0=start, return_eigenvectors=False, tol=1e-8)
        )

    # Both iterate to 1e-8; their difference is of the order of that tolerance.
    np.testing.assert_allclose(ours(), plain(), atol=1e-6)
    report(benchmark, "time over SciPy's eigsh", median_ratio(ours, plain, pairs=10))
    benchmark.pedantic(ours, rounds=5)


@pytest.mark.parametrize("method", ["exact", "lowrank", "chebyshev"])
def test_a_filter_beside_the_product_that_is_its_floor(benchmark, method):
    nodes, width = 1536, 384
    L = knn_laplacian(nodes)
    X = torch.randn(nodes, width, generator=torch.Generator().manual_seed(1))
    graph_filter = prepare_filter(
        L, tikhonov(gamma=1.0), method=method, **({"rank": 32} if method == "lowrank" else {})
    )
    exact = torch.linalg.solve(torch.eye(nodes) + L.to_torch(dtype=torch.float32, layout="dense"), X)
    # Float32 products of 1,536 terms; a low rank leaves all modes above it at the edge's response.
    torch.testing.assert_close(graph_filter(X), exact, atol=2.0 if method == "lowrank" else 1e-3, rtol=0)
    rank = 32 if method == "lowrank" else nodes // 2
    thin = torch.randn(nodes, rank)

    def floor():
        # Operation count: two products of nodes x rank x width, or one of nodes x nodes x width.
        return thin @ (thin.T @ X)

    report(benchmark, "time over its matrix products", median_ratio(lambda: graph_filter(X), floor))
    benchmark.pedantic(graph_filter, args=(X,), rounds=10)
