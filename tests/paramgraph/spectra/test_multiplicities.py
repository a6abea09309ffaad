"""Random graphs of equal and close eigenvalues, which Lanczos from one start vector passes over.

Each graph comes from its seed, which is the number of the test: `random_problem(seed)` makes it again.
"""

import warnings
from collections.abc import Callable
from math import log

import networkx as nx
import numpy as np
import pytest
import scipy.linalg
import scipy.sparse as sp
import torch
from torch_geometric.data import Data

import paramgraph
from paramgraph import (
    CosineKNN,
    GaussianKNN,
    LayerAdjacency,
    NotConvergedError,
    NumericalWarning,
    ShiftOperator,
    apply_filter,
    clustering_agreement,
    compaction,
    eigenpairs,
    generalized_eigenpairs,
    laplacian,
)
from paramgraph.spectra import KroneckerSum, product_modes, smallest_eigenvalue, zero_operator

Source = np.random.Generator


def random_tree(nodes: int, source: Source) -> nx.Graph:
    return nx.random_labeled_tree(nodes, seed=int(source.integers(2**30)))


FACTORS: dict[str, Callable[[int, Source], nx.Graph]] = {
    "path": lambda nodes, _: nx.path_graph(nodes),
    "ring": lambda nodes, _: nx.cycle_graph(max(nodes, 3)),
    "clique": lambda nodes, _: nx.complete_graph(nodes),
    "star": lambda nodes, _: nx.star_graph(nodes - 1),
    "cube": lambda nodes, _: nx.hypercube_graph(int(log(nodes, 2))),
    "wheel": lambda nodes, _: nx.wheel_graph(max(nodes, 4)),
    "tree": random_tree,
    "ladder": lambda nodes, _: nx.circular_ladder_graph(max(nodes // 2, 3)),
    "bipartite": lambda nodes, _: nx.complete_bipartite_graph(-(-nodes // 3), nodes - nodes // 3),
}


def product(nodes: int, source: Source) -> nx.Graph:
    first, second = source.choice(list(FACTORS), 2)
    one = FACTORS[first](int(source.integers(2, 40)), source)
    other = FACTORS[second](max(2, -(-nodes // len(one))), source)
    times = source.choice([nx.cartesian_product, nx.cartesian_product, nx.tensor_product, nx.strong_product])
    return times(one, other)


def product_of_three(nodes: int, source: Source) -> nx.Graph:
    side = round(nodes ** (1 / 3))
    one, two, three = (FACTORS[name](side, source) for name in source.choice(list(FACTORS), 3))
    return nx.cartesian_product(nx.cartesian_product(one, two), three)


def spider(nodes: int, source: Source) -> nx.Graph:
    legs = int(source.integers(3, 30))
    graph = nx.Graph()
    for leg in range(legs):
        nx.add_path(graph, [0, *((leg, step) for step in range(nodes // legs))])
    return graph


def caterpillar(nodes: int, source: Source) -> nx.Graph:
    graph = nx.path_graph(nodes // 3)
    graph.add_edges_from(
        (node, (node, leaf)) for node in range(nodes // 3) for leaf in range(source.integers(5))
    )
    return graph


def clusters(nodes: int, source: Source, connect: str = "none") -> Data:
    many = int(source.integers(4, 30))
    centre = 3 * source.standard_normal((many, 16))[np.arange(nodes) % many]
    spread = source.choice([0.01, 0.1, 0.5]) * source.standard_normal((nodes, 16))
    builder = CosineKNN(k=int(source.integers(4, 12)), connect=connect)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NumericalWarning)  # of clusters at an obtuse angle, which stay apart
        return builder(Data(x=torch.tensor(centre + spread)))


def heads(nodes: int, source: Source) -> Data:
    data = Data(x=torch.zeros(nodes - nodes % 32, 1))
    data.layer = torch.arange(32).repeat_interleave(nodes // 32)
    return LayerAdjacency(residual=bool(source.integers(2)))(data)


def union(nodes: int, source: Source) -> nx.Graph:
    part = FACTORS[source.choice(list(FACTORS))](int(source.integers(30, 200)), source)
    return nx.disjoint_union_all([part] * max(2, nodes // len(part)))


FAMILIES: dict[str, Callable[[int, Source], nx.Graph | Data]] = {
    "product": product,
    "product again": product,
    "product of three": product_of_three,
    "tree": random_tree,
    "balanced tree": lambda nodes, source: nx.full_rary_tree(int(source.integers(2, 6)), nodes),
    "wheel": FACTORS["wheel"],
    "star": FACTORS["star"],
    "bipartite": FACTORS["bipartite"],
    "barbell": lambda nodes, _: nx.barbell_graph(nodes // 3, nodes - 2 * (nodes // 3)),
    "cube": lambda nodes, _: nx.hypercube_graph(9 + (nodes > 1000)),
    "spider": spider,
    "caterpillar": caterpillar,
    "clusters": clusters,
    "clusters, joined": lambda nodes, source: clusters(nodes, source, "mst"),
    "heads": heads,
    "union": union,
    "circulant": lambda nodes, source: nx.circulant_graph(nodes, source.integers(1, nodes // 2, 3).tolist()),
    "multipartite": lambda nodes, source: nx.complete_multipartite_graph(*source.integers(5, nodes // 4, 6)),
}
WEIGHTS: dict[str, Callable[[int, Source], np.ndarray]] = {
    "ones": lambda edges, _: np.ones(edges),
    "two values": lambda edges, source: source.choice([1.0, 3.0], edges),
    "any": lambda edges, source: source.uniform(0.1, 2.0, edges),
    "signs": lambda edges, source: source.choice([-1.0, 1.0], edges),
}


def random_problem(seed: int, most: int = 1500) -> tuple[str, ShiftOperator, int]:
    """Draw an operator of 401 to `most` nodes, and a number of pairs up to an eighth of them."""
    source = np.random.default_rng([seed, 401])
    nodes = 0
    while not 401 <= nodes <= most:
        family = source.choice(list(FAMILIES))
        graph = FAMILIES[family](int(source.integers(401, most + 1)), source)
        nodes = graph.num_nodes if isinstance(graph, Data) else len(graph)
    weights = source.choice(list(WEIGHTS), p=[0.5, 0.15, 0.2, 0.15])
    if isinstance(graph, nx.Graph):
        edges = sp.triu(nx.to_scipy_sparse_array(graph, dtype=float), 1, format="coo")
        edges.data = WEIGHTS[weights](edges.nnz, source)
        graph = sp.csr_array(edges + edges.T)
    shift = source.choice(["adjacency", "none", "sym", "rw"])
    if shift == "adjacency":
        operator = paramgraph.adjacency(graph)
    else:
        signed = weights == "signs" and not isinstance(graph, Data)
        operator = laplacian(graph, None if shift == "none" else shift, signed=signed)
    k = int(source.choice([1, 2, 3, 5, 8, 13, 16, 24, 32, 48, nodes // 8]))
    return f"{family}, weights {weights}, {shift}, {nodes} nodes, {k} pairs", operator, k


def lowest(operator: ShiftOperator, k: int) -> np.ndarray:
    values = np.linalg.eigvalsh(operator.symmetrized()[0].to_dense())
    return values[:k] if operator.kind == "laplacian" else values[::-1][:k]


def every_seed(fast: int, all_of_them: int) -> list:
    return [pytest.param(seed, marks=[pytest.mark.slow] * (seed >= fast)) for seed in range(all_of_them)]


@pytest.mark.parametrize("seed", every_seed(40, 500))
def test_no_pair_of_a_random_graph_is_passed_over(seed):
    name, operator, k = random_problem(seed, 800 if seed < 40 else 1500)
    print(seed, name)  # shown where it fails
    spectrum = eigenpairs(operator, k=k)
    U, values = spectrum.eigenvectors.numpy(), spectrum.eigenvalues.numpy()
    # Residuals are 1e-8 of the bound at most, and errors of eigenvalues no larger.
    np.testing.assert_allclose(values, lowest(operator, k), rtol=0, atol=2e-8 * operator.bound)
    residuals = np.linalg.norm(operator.matrix @ U - U * values, axis=0)
    assert residuals.max() <= 2e-8 * operator.bound
    weight = (
        np.ones(operator.nodes) if operator.symmetric else np.where(operator.degrees > 0, operator.degrees, 1)
    )
    V = U * np.sqrt(weight)[:, None]  # the "rw" Laplacian has orthogonal vectors in the metric of the degrees
    V /= np.linalg.norm(V, axis=0)
    np.testing.assert_allclose(V.T @ V, np.eye(k), atol=1e-9)


@pytest.mark.parametrize("seed", every_seed(6, 60))
def test_no_generalized_pair_is_passed_over(seed):
    name, operator, k = random_problem(1000 + seed, 640 if seed < 6 else 900)
    print(seed, name)
    A = operator.symmetrized()[0]
    k = min(k, A.nodes // 10)
    ring = laplacian(nx.cycle_graph(A.nodes), None)
    B = [zero_operator(A.nodes), ring, A if A.kind == "laplacian" else ring][seed % 3]
    pairs = generalized_eigenpairs(A, B, k=k, ridge=0.3)
    M = B.to_dense() + 0.3 * np.eye(B.nodes)
    truth = scipy.linalg.eigh(A.to_dense(), M, eigvals_only=True)
    expected = truth[:k] if A.kind == "laplacian" else truth[::-1][:k]
    np.testing.assert_allclose(pairs.eigenvalues.numpy(), expected, rtol=0, atol=1e-7 * np.abs(truth).max())
    U = pairs.eigenvectors.numpy()
    np.testing.assert_allclose(U.T @ M @ U, np.eye(k), atol=1e-9)


def torus(side: int) -> ShiftOperator:
    return laplacian(nx.grid_2d_graph(side, side, periodic=True))


def twelve_clusters() -> tuple[Data, np.ndarray]:
    source = np.random.default_rng(0)
    labels = np.repeat(np.arange(12), 50)
    X = source.standard_normal((12, 32))[labels] + 0.2 * source.standard_normal((600, 32))
    return GaussianKNN(k=10, connect="mst")(Data(x=torch.tensor(X, dtype=torch.float32))), labels


PLAIN = {
    "torus": lambda: (torus(21), 5),
    "heads": lambda: (laplacian(heads(1024, np.random.default_rng(1))), 16),
    "clusters": lambda: (laplacian(twelve_clusters()[0]), 12),
    "wheel": lambda: (laplacian(nx.wheel_graph(795)), 5),
    "tree": lambda: (laplacian(nx.balanced_tree(2, 9)), 16),
    "cube": lambda: (laplacian(nx.hypercube_graph(10)), 14),
    "cube, adjacency": lambda: (paramgraph.adjacency(nx.hypercube_graph(10)), 20),
}


@pytest.mark.parametrize("solver", ["auto", "arpack", "shift_invert", "lobpcg"])
@pytest.mark.parametrize("name", PLAIN)
def test_equal_values_are_found_by_every_solver(name, solver):
    operator, k = PLAIN[name]()
    try:
        spectrum = eigenpairs(operator, k=k, solver=solver)
    except NotConvergedError:  # a refusal is no wrong number, but "auto" finds a way
        assert solver == "lobpcg"
        return
    np.testing.assert_allclose(spectrum.eigenvalues.numpy(), lowest(operator, k), atol=2e-8 * operator.bound)


def test_large_torus_beyond_the_dense_sizes_is_whole_and_assured():
    side, k = 50, 21
    wave = 1 - np.cos(2 * np.pi * np.arange(side) / side)
    expected = np.sort(np.add.outer(wave, wave).reshape(-1) / 2)[:k]
    spectrum = eigenpairs(torus(side), k=k)
    np.testing.assert_allclose(spectrum.eigenvalues.numpy(), expected, atol=1e-8)
    assert "not assured" not in spectrum.reason


def test_twelve_clusters_are_found_again():
    graph, labels = twelve_clusters()
    assert clustering_agreement(graph, labels).adjusted_rand == 1.0


def test_signal_of_equal_modes_is_compact_and_kept_by_a_low_rank_filter():
    L = torus(24)
    U = torch.tensor(np.linalg.eigh(L.to_dense())[1])
    X = U[:, 1:9].clone()
    Y = apply_filter(L, X, lambda x: torch.ones_like(x), rank=9, tail=0)
    torch.testing.assert_close(X, Y, atol=1e-7, rtol=0)
    assert compaction(eigenpairs(L, k=9), X, share=9 / 576) == pytest.approx(1.0)


def test_modes_of_a_product_of_a_long_factor_are_whole():
    rows, columns = torus(33), laplacian(nx.cycle_graph(5))  # 1,089 nodes: above what is solved whole
    sums = np.add.outer(lowest(rows, rows.nodes), lowest(columns, 5)).reshape(-1)
    modes = product_modes(KroneckerSum(rows, columns), 40)
    np.testing.assert_allclose(modes.eigenvalues, np.sort(sums)[:40], atol=1e-7)


@pytest.mark.parametrize("name", PLAIN)
def test_smallest_eigenvalue_is_the_smallest(name):
    operator, _ = PLAIN[name]()
    flipped = paramgraph.adjacency(-operator.to_scipy())
    assert smallest_eigenvalue(flipped) == pytest.approx(-lowest(operator, operator.nodes).max(), abs=1e-7)


@pytest.fixture
def short_search(monkeypatch):
    """Let the search give up before it can tell."""
    monkeypatch.setattr("paramgraph.spectra._lanczos.SEARCH_STEPS", 3)
    monkeypatch.setattr("paramgraph.spectra._lanczos.MOST_BEHIND", 2)


@pytest.mark.usefixtures("short_search")
def test_what_is_not_assured_is_solved_densely_where_it_is_small():
    spectrum = eigenpairs(laplacian(nx.random_regular_graph(6, 600, seed=0)), k=8)
    assert spectrum.solver == "dense"
    assert "arpack could not tell whether that was all" in spectrum.reason


@pytest.mark.usefixtures("short_search")
@pytest.mark.parametrize("solver", ["arpack", "lobpcg", "shift_invert"])
def test_a_named_solver_says_what_is_not_assured(solver):
    operator = laplacian(nx.random_regular_graph(6, 600, seed=0))
    spectrum = eigenpairs(operator, k=8, solver=solver)
    assert spectrum.solver == solver
    assert spectrum.certified is None
    assert spectrum.reason.endswith("too close to the last one to tell; certify=True counts them")
    proven = eigenpairs(operator, k=8, solver=solver, certify=True)
    assert proven.reason.endswith("certified by inertia")


@pytest.mark.usefixtures("short_search")
def test_beyond_the_dense_sizes_it_is_said_and_no_smallest_eigenvalue_is_given():
    expander = nx.random_regular_graph(6, 2002, seed=0)
    assert "not assured" in eigenpairs(laplacian(expander), k=8).reason
    with pytest.raises(NotConvergedError, match="may not be the smallest eigenvalue of 2002 nodes"):
        smallest_eigenvalue(paramgraph.adjacency(expander))


@pytest.mark.usefixtures("short_search")
@pytest.mark.parametrize(("solver", "words"), [("auto", "could not tell"), ("arpack", "not assured")])
def test_generalized_pairs_say_it_too(solver, words):
    A, B = (nx.random_regular_graph(6, 600, seed=seed) for seed in (0, 1))
    pairs = generalized_eigenpairs(paramgraph.adjacency(A), laplacian(B), k=8, ridge=1.0, solver=solver)
    assert words in pairs.reason


@pytest.mark.parametrize("seed", [0, 7, np.random.default_rng(3)])
def test_any_seed_finds_all_copies(seed):
    operator, k = PLAIN["cube"]()
    values = eigenpairs(operator, k=k, seed=seed).eigenvalues.numpy()
    np.testing.assert_allclose(values, lowest(operator, k), atol=1e-8)
