"""Filters of a signal: polynomials beside PyGSP, all others beside the products that they cannot do without."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import networkx as nx
import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor
from torch_geometric.data import Data

from paramgraph import (
    CosineKNN,
    ProductGraph,
    ShiftOperator,
    apply_filter,
    apply_filter_bank,
    graph_to_scipy,
    heat,
    laplacian,
    prepare_filter,
    tikhonov,
    wavelets,
)

from benchmarks.contest import Contest, Profile

ORDER, LATE = 30, 60
PRODUCT_GOAL = (
    1.3  # times its products: the sum with X, the gains and the look for NaN are passes over the matrix
)


def contests(profile: Profile) -> Iterator[Contest]:
    """Polynomials over nodes, width and order; thin and complete bases over theirs; one solve, a bank, a product."""
    if profile == "smallest":
        yield chebyshev(60, 5, 8, torch.float32)
        yield lowrank(40, 6, 4)
        yield exact(40, 6)
        yield solve(6)
        yield bank(60, 3, LATE, number=2)
        yield product(12, 8)
        return
    most = 20_000 if profile == "full" else 4000
    for nodes in (1000, most):
        yield chebyshev(nodes, 64, ORDER, torch.float32)
    middle = 8000 if profile == "full" else 2000
    for width, order in ((16, ORDER), (256, ORDER), (64, 10), (64, ORDER), (64, 90)):
        yield chebyshev(middle, width, order, torch.float32)
    yield chebyshev(middle, 64, ORDER, torch.float64)
    for rank in (8, 32, 128):
        yield lowrank(1536, 384, rank)
    for nodes in (384, 768, 1536):
        yield exact(nodes, 384)
    yield solve(100)
    yield bank(middle, 32, LATE)
    yield product(1536, 384)


@cache
def weights(nodes: int) -> sp.csr_array:
    """Make a graph of 20 neighbours, or fewer where there are few nodes."""
    x = torch.randn(nodes, 64, generator=torch.Generator().manual_seed(0))
    search = "faiss" if nodes > 10_000 else "exact"
    return graph_to_scipy(CosineKNN(k=min(20, nodes // 4), search=search)(Data(x=x, num_nodes=nodes)))


@cache
def operator_of(nodes: int) -> ShiftOperator:
    """Normalize that graph."""
    return laplacian(weights(nodes))


def signal(nodes: int, width: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Draw a standard normal signal."""
    return torch.randn(nodes, width, generator=torch.Generator().manual_seed(1)).to(dtype)


def chebyshev(nodes: int, width: int, order: int, dtype: torch.dtype) -> Contest:
    """Filter by a polynomial; PyGSP computes in float64 whatever comes."""
    import pygsp

    graph = pygsp.graphs.Graph(sp.csr_matrix(weights(nodes)), lap_type="normalized")
    graph.estimate_lmax()
    # PyGSP's heat kernel is exp(-scale x / lmax).
    peer = pygsp.filters.Heat(graph, 2.0 * graph.lmax)
    ours = prepare_filter(operator_of(nodes), heat(2.0), "chebyshev", order=order)
    X = signal(nodes, width, dtype)
    plain = X.numpy()

    def check(found: Mapping[str, Any]) -> None:
        # Float32 sums of some 30 terms are good to 1e-6, each of so many orders; low orders miss the response too.
        tolerance = (1e-6 * order if dtype == torch.float32 else 1e-10) + (1e-4 if order < 20 else 0.0)
        np.testing.assert_allclose(found["paramgraph"].numpy(), found["PyGSP"], rtol=0, atol=tolerance)

    name = str(dtype).removeprefix("torch.")
    entries, size = weights(nodes).nnz + nodes, X.element_size()
    return Contest(
        f"chebyshev, {name}",
        {"nodes": nodes, "width": width, "order": order},
        {
            "paramgraph": lambda: ours(X),
            "PyGSP": lambda: np.asarray(peer.filter(plain, method="chebyshev", order=order)),
        },
        check,
        theory={"nodes": 1, "width": 1, "order": 1},
        goals={"PyGSP": 1.0},
        operations=2.0 * order * entries * width,
        precision=name,
        # What is really gathered: a row of the term for each stored entry, with its value and index; then the term, its
        # predecessor and the sum are read, and two of them written.
        traffic=order * (entries * (width * size + size + 4) + 5.0 * nodes * width * size),
    )


@cache
def dense_pairs(nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Decompose that operator by NumPy."""
    found = np.linalg.eigh(operator_of(nodes).to_dense())
    return found.eigenvalues, found.eigenvectors


def _check_against_modes(X: Tensor, nodes: int, rank: int) -> Any:
    """Hold a Tikhonov filter against the dense one, whose modes above the rank are all multiplied as the last one."""

    def check(found: Mapping[str, Any]) -> None:
        values, U = dense_pairs(nodes)
        gains = 1.0 / (1.0 + np.minimum(values, values[rank - 1]))
        expected = (U * gains) @ (U.T @ X.double().numpy())
        # Float32 sums of up to 1,536 terms.
        np.testing.assert_allclose(found["paramgraph"].numpy(), expected, rtol=0, atol=1e-4)

    return check


def lowrank(nodes: int, width: int, rank: int) -> Contest:
    """Filter by some modes, beside the two thin products alone."""
    X, thin = signal(nodes, width), signal(nodes, rank)
    ours = prepare_filter(operator_of(nodes), tikhonov(1.0), "lowrank", rank=rank)
    return Contest(
        "lowrank",
        {"nodes": nodes, "width": width, "rank": rank},
        {"paramgraph": lambda: ours(X), "its two products": lambda: thin @ (thin.T @ X)},
        _check_against_modes(X, nodes, rank),
        theory={"nodes": 1, "width": 1, "rank": 1},
        operations=4.0 * nodes * width * rank,
        traffic=4.0 * nodes * width * 3,
    )


def exact(nodes: int, width: int) -> Contest:
    """Filter by all modes, one product of nodes x nodes, beside that product alone."""
    X, square = signal(nodes, width), signal(nodes, nodes)
    ours = prepare_filter(operator_of(nodes), tikhonov(1.0), "exact")
    return Contest(
        "exact",
        {"nodes": nodes, "width": width},
        {"paramgraph": lambda: ours(X), "its product": lambda: square @ X},
        _check_against_modes(X, nodes, nodes),
        theory={"nodes": 2, "width": 1},
        operations=2.0 * nodes**2 * width,
    )


def solve(side: int) -> Contest:
    """Smooth on a grid by one sparse factorization, beside a polynomial of order 60."""
    operator = laplacian(nx.grid_2d_graph(side, side), None)
    X, response = signal(operator.nodes, 64, torch.float64), tikhonov(10.0)
    solved = prepare_filter(operator, response, "solve")
    polynomial = prepare_filter(operator, response, "chebyshev", order=LATE)

    def check(found: Mapping[str, Any]) -> None:
        torch.testing.assert_close(found["paramgraph"], found["chebyshev"], atol=1e-3, rtol=0)

    return Contest(
        "solve on a grid",
        {"nodes": operator.nodes, "width": 64},
        {"paramgraph": lambda: solved(X), "chebyshev": lambda: polynomial(X)},
        check,
        theory={"width": 1},
    )


def bank(nodes: int, width: int, order: int, number: int = 5) -> Contest:
    """Apply several wavelets in one recurrence, beside one by one."""
    operator, X = operator_of(nodes), signal(nodes, width)
    filters = wavelets(operator, number, "itersine")

    def check(found: Mapping[str, Any]) -> None:
        for one, other in zip(found["paramgraph"], found["one by one"], strict=True):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=0)

    return Contest(
        "bank of wavelets",
        {"nodes": nodes, "width": width, "order": order, "wavelets": number},
        {
            "paramgraph": lambda: apply_filter_bank(operator, X, filters, "chebyshev", order=order),
            "one by one": lambda: [
                apply_filter(operator, X, one, "chebyshev", order=order) for one in filters
            ],
        },
        check,
        turns=5,
        goals={"one by one": 1.0},
    )


def product(rows: int, columns: int) -> Contest:
    """Filter each entry of a matrix in the eigenvectors of both sides, beside the four products alone."""
    sides = (signal(rows, 96).double(), signal(columns, 96).double())
    graph = ProductGraph(*(side @ side.T / 96 for side in sides), kind="tensor")
    gains = torch.rand(rows, columns, generator=torch.Generator().manual_seed(2))
    ours, X = graph.prepare_filter(tikhonov(1.0), eigenvalues=gains), signal(rows, columns)
    U, V = (spectrum.eigenvectors.float() for spectrum in graph.spectra)

    def check(found: Mapping[str, Any]) -> None:
        expected = U @ ((U.T @ X @ V) / (1 + gains)) @ V.T
        # Rotated there and back: float32 sums of up to 1,536 terms.
        torch.testing.assert_close(found["paramgraph"], expected, rtol=0, atol=1e-4)

    return Contest(
        "product of rows and columns",
        {"rows": rows, "columns": columns},
        {"paramgraph": lambda: ours(X), "its four products": lambda: U @ (U.T @ X @ V) @ V.T},
        check,
        goals={"its four products": PRODUCT_GOAL},
        operations=4.0 * rows * columns * (rows + columns),
    )
