"""Time of filters beside PyGSP, the bank of filters beside its parts, and the floor of a polynomial.

Run by `make bench`. Pairs are interleaved (A B A B ...) because a shared machine drifts by a factor of two within
minutes: the ratio of a pair holds, a single time does not. Every result is checked where it is timed.
"""

import statistics
import time
from collections.abc import Callable

import networkx as nx
import numpy as np
import pygsp
import pytest
import scipy.sparse as sp
import torch
from torch_geometric.data import Data

from paramgraph import (
    CosineKNN,
    ProductGraph,
    apply_filter,
    apply_filter_bank,
    graph_to_scipy,
    heat,
    laplacian,
    prepare_filter,
    tikhonov,
    wavelets,
)

pytestmark = pytest.mark.bench

NODES, WIDTH, ORDER = 20_000, 384, 30


def interleaved(
    first: Callable[[], object], second: Callable[[], object], pairs: int
) -> tuple[float, float, float]:
    """Median ratio of the times of `first` and `second` over interleaved pairs, and both median times."""
    times: list[tuple[float, float]] = []
    for _ in range(pairs):
        pair = []
        for run in (first, second):
            started = time.perf_counter()
            run()
            pair.append(time.perf_counter() - started)
        times.append((pair[0], pair[1]))
    return (
        statistics.median(a / b for a, b in times),
        statistics.median(a for a, _ in times),
        statistics.median(b for _, b in times),
    )


def report(benchmark, name: str, ratio: float, ours: float, theirs: float) -> None:
    """Keep a ratio in the benchmark's JSON, and show it: the table of times has no column for it."""
    benchmark.extra_info[name] = ratio
    print(f"\n{benchmark.name}: {ratio:.3f} x {name} ({ours:.3g} s, {theirs:.3g} s)")


@pytest.fixture(scope="module")
def weights() -> sp.csr_array:
    x = torch.randn(NODES, 64, generator=torch.Generator().manual_seed(0))
    return graph_to_scipy(CosineKNN(k=20)(Data(x=x, num_nodes=NODES)))


def signal(nodes: int, width: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(nodes, width, generator=torch.Generator().manual_seed(1)).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_chebyshev_of_order_30_beside_pygsp(benchmark, weights, dtype):
    graph = pygsp.graphs.Graph(sp.csr_matrix(weights), lap_type="normalized")
    graph.estimate_lmax()
    # PyGSP's heat kernel is exp(-scale x / lmax).
    peer = pygsp.filters.Heat(graph, 2.0 * graph.lmax)
    ours = prepare_filter(laplacian(weights), heat(2.0), "chebyshev", order=ORDER)
    X = signal(NODES, WIDTH, dtype)
    plain = X.numpy()
    # PyGSP computes in float64 whatever comes; float32 sums of some 30 terms are good to 1e-6, each of 31 orders.
    tolerance = 3e-5 if dtype == torch.float32 else 1e-10
    expected = peer.filter(plain, method="chebyshev", order=ORDER)
    np.testing.assert_allclose(ours(X).numpy(), expected, atol=tolerance)
    # Floor: order x stored entries x width multiply-adds; the term, its predecessor and the result of each order pass
    # through the cache, and the indices once for each block of columns.
    entries = weights.nnz
    flops, traffic = 2.0 * ORDER * entries * WIDTH, ORDER * 6.0 * X.element_size() * NODES * WIDTH
    print(f"\nfloor: {flops / 1e9:.0f} Gflop, {traffic / 1e9:.0f} GB of dense terms, {entries} entries")
    found = interleaved(
        lambda: ours(X), lambda: peer.filter(plain, method="chebyshev", order=ORDER), pairs=20
    )
    report(benchmark, "time of PyGSP", *found)
    assert found[0] < 1
    benchmark.pedantic(ours, args=(X,), rounds=3)


def test_bank_of_wavelets_beside_its_filters_one_by_one(benchmark, weights):
    operator, X = laplacian(weights), signal(NODES, 64)
    bank = wavelets(operator, 5, "itersine")

    def together():
        return apply_filter_bank(operator, X, bank, "chebyshev", order=60)

    def one_by_one():
        return [apply_filter(operator, X, response, "chebyshev", order=60) for response in bank]

    for ours, theirs in zip(together(), one_by_one(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    report(benchmark, "time of its filters one by one", *interleaved(together, one_by_one, pairs=5))
    benchmark.pedantic(together, rounds=3)


def test_solve_on_a_grid_beside_chebyshev(benchmark):
    operator = laplacian(nx.grid_2d_graph(100, 100), None)
    X = signal(operator.nodes, 64, torch.float64)
    response = tikhonov(10.0)

    def solved():
        return apply_filter(operator, X, response)

    def polynomial():
        return apply_filter(operator, X, response, "chebyshev", order=60)

    assert prepare_filter(operator, response).method == "solve"
    torch.testing.assert_close(solved(), polynomial(), atol=1e-4, rtol=0)
    report(benchmark, "time of Chebyshev of order 60", *interleaved(solved, polynomial, pairs=10))
    benchmark.pedantic(solved, rounds=3)


def test_exact_filter_of_a_product_beside_its_floor(benchmark):
    """The floor are the four products with both bases, 4 rows columns (rows + columns) operations."""
    rows, columns = 1536, 384
    grams = (
        features @ features.T / 96 for features in (signal(rows, 96).double(), signal(columns, 96).double())
    )
    product = ProductGraph(*grams, kind="tensor")
    ours = product.prepare_filter(tikhonov(1.0), eigenvalues=torch.rand(rows, columns))
    X = signal(rows, columns)
    U, V = (spectrum.eigenvectors.float() for spectrum in product.spectra)

    def floor() -> torch.Tensor:
        return U @ (U.T @ X @ V) @ V.T

    # Rotated there and back: float32 sums of up to 1,536 terms.
    torch.testing.assert_close(floor(), X, rtol=0, atol=1e-4)
    assert ours.method == "exact"
    ours(X)
    ratio, own, bare = interleaved(lambda: ours(X), floor, 15)
    report(benchmark, "of the floor", ratio, own, bare)
    benchmark.extra_info["gflops"] = 4 * rows * columns * (rows + columns) / own / 1e9
    # The sum with X, the gains and the look for NaN are passes over the matrix, not products.
    assert ratio < 1.3
    benchmark.pedantic(lambda: ours(X), rounds=5)
