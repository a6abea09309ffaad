"""Lowest eigenpairs: what `auto` chooses beside each single solver, SciPy, torch, PyGSP, scikit-learn, networkx."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from typing import Any, NamedTuple

import networkx as nx
import numpy as np
import scipy.linalg
import scipy.sparse as sp
import scipy.sparse.linalg as spla
import torch
from torch_geometric.data import Data

from paramgraph import (
    CosineKNN,
    ShiftOperator,
    eigenpairs,
    laplacian,
    rows,
    weights,
)

from benchmarks.contest import Contest, Profile

# At most so many times a right peer's time; a tenth of that of libraries of graphs, from 5,000 neighbours on.
FACTOR, TENTH, MANY = 1.2, 0.1, 5000
TOLERANCE = 1e-8  # residual of ours; eigenvalues are good to its square over the gap
NEIGHBOURS = "graph of 20 neighbours"
SPLIT = 1e-5  # shift-invert's, slightly below zero, where L is singular

Values = np.ndarray
Solver = Callable[[ShiftOperator, int], Values]


class Case(NamedTuple):
    """A name, graphs that are solved one after the other, how many pairs of each, and peers that end within seconds."""

    name: str
    make: Callable[[], list[ShiftOperator]]
    k: int
    peers: tuple[str, ...]
    turns: int = 20


def contests(profile: Profile) -> Iterator[Contest]:
    """Graphs of neighbours, long graphs, many components, matrices of two models; then all pairs."""
    if profile == "smallest":
        everyone = tuple(name for name in PEERS if name != "lobpcg")
        yield lowest(Case(NEIGHBOURS, partial(_neighbours, 60), 3, everyone))
        yield all_pairs(20)
        return
    for case in cases(profile):
        yield lowest(case)
    for nodes in (576, 1536):
        yield all_pairs(nodes)


def cases(profile: Profile) -> Iterator[Case]:
    """Give the graphs of the comparison, each with peers that end on it."""
    lanczos = ("arpack", "SciPy, SA")
    slow = ("SciPy, shift-invert", "SciPy, LOBPCG", "torch.lobpcg", "PyGSP", "scikit-learn")
    small = (*lanczos, "lobpcg_amg", "shift_invert", *slow, "networkx, dense")
    yield Case(NEIGHBOURS, partial(_neighbours, 1000), 16, small)
    yield Case(NEIGHBOURS, partial(_neighbours, 2000), 16, (*lanczos, "PyGSP"))
    if profile == "full":
        yield Case(NEIGHBOURS, partial(_neighbours, 5000), 16, (*lanczos, "lobpcg_amg", *slow))
        yield Case(NEIGHBOURS, partial(_neighbours, 20_000), 16, (*lanczos, "torch.lobpcg"), 3)
    else:
        yield Case(NEIGHBOURS, partial(_neighbours, 5000), 16, (*lanczos, "PyGSP"))
    for k in (8, 32, 64):
        yield Case(NEIGHBOURS, partial(_neighbours, 5000), k, ("SciPy, SA",), 3)
    inverted = ("shift_invert", "SciPy, shift-invert")
    yield Case("ring", lambda: [laplacian(nx.cycle_graph(4096))], 16, inverted)
    yield Case("grid of 64 x 64", _grid, 16, ("arpack", *inverted))
    yield Case("thirty blocks of 100", _blocks, 48, ("dense", "arpack", "shift_invert"))
    yield Case("matrices of all-MiniLM-L6-v2", partial(_of_model, "embedded", 9), 16, ("dense", *lanczos))
    if profile == "full":
        yield Case("matrices of SmolLM2-135M", partial(_of_model, "SmolLM2-135M-Instruct", 9), 32, lanczos)


def _neighbours(nodes: int) -> list[ShiftOperator]:
    return [_neighbour_laplacian(nodes)]


@cache
def _neighbour_laplacian(nodes: int) -> ShiftOperator:
    x = torch.randn(nodes, 64, generator=torch.Generator().manual_seed(0))
    # All neighbours by faiss where there are many: the graph is not what is timed here.
    search = "faiss" if nodes > 10_000 else "exact"
    return laplacian(CosineKNN(k=min(20, nodes // 4), search=search)(Data(x=x, num_nodes=nodes)))


def _grid() -> list[ShiftOperator]:
    return [laplacian(nx.convert_node_labels_to_integers(nx.grid_2d_graph(64, 64)))]


def _blocks() -> list[ShiftOperator]:
    return [laplacian(nx.disjoint_union_all([nx.random_regular_graph(4, 100, seed=i) for i in range(30)]))]


def _of_model(name: str, number: int) -> list[ShiftOperator]:
    """Build the graphs of the rows of some matrices, evenly spread over the depth of a model."""
    from spectral_opt.tasks import load_model

    model = load_model(name).encoder
    tables = list(rows(model).values())
    chosen = tables[:: -(-len(tables) // number)]
    return [laplacian(CosineKNN(k=10)(table.to_data(weights(model, table)))) for table in chosen]


def lowest(case: Case) -> Contest:
    """Solve for the lowest pairs of each graph; the eigenvalues of all solvers are held against those of `auto`."""
    operators = case.make()

    def by(solver: Solver) -> list[Values]:
        return [solver(operator, case.k) for operator in operators]

    def check(found: Mapping[str, list[Values]]) -> dict[str, float]:
        _check_residuals(operators, case.k)
        errors = {}
        for peer, values in found.items():
            error = max(
                float(np.abs(one - two).max()) for one, two in zip(values, found["paramgraph"], strict=True)
            )
            # Of others it stands in the record: they may stop early, or miss copies of an eigenvalue.
            if peer in OWN or peer == "paramgraph":
                assert error < 1e-6, peer
            elif error > TOLERANCE or peer in INEXACT:
                errors[f"error of {peer}"] = error
        return errors

    solvers = {"paramgraph": _own("auto")} | {peer: PEERS[peer] for peer in case.peers}
    nodes = max(operator.nodes for operator in operators)
    goals = dict.fromkeys((peer for peer in case.peers if peer not in INEXACT), FACTOR)
    if nodes >= MANY:
        goals |= dict.fromkeys({"PyGSP", "scikit-learn"} & set(case.peers), TENTH)
    return Contest(
        case.name,
        {"nodes": nodes, "k": case.k} if len(operators) == 1 else {"graphs": len(operators), "k": case.k},
        {solver: partial(by, run) for solver, run in solvers.items()},
        check,
        turns=case.turns,
        theory={"nodes": 1, "k": 1},
        goals=goals,
    )


def _check_residuals(operators: list[ShiftOperator], k: int) -> None:
    for operator in operators:
        spectrum = eigenpairs(operator, k=k)
        U, values = spectrum.eigenvectors.numpy(), spectrum.eigenvalues.numpy()
        residuals = np.linalg.norm(operator.to_scipy() @ U - U * values, axis=0)
        assert residuals.max() < 10 * TOLERANCE
        # No mode is missing: below the last one there are as many as a factorization counts, on small graphs.
        if operator.nodes <= 1000:
            expected = scipy.linalg.eigvalsh(operator.to_dense(), subset_by_index=[0, len(values) - 1])
            np.testing.assert_allclose(values, expected, atol=1e-9)


def all_pairs(nodes: int) -> Contest:
    """Solve for all pairs of a graph of neighbours, as the exact filter and the basis ask for."""
    operator = _neighbour_laplacian(nodes)
    matrix = operator.to_dense()

    def check(found: Mapping[str, Any]) -> None:
        np.testing.assert_allclose(found["paramgraph"].eigenvalues.numpy(), found["NumPy"][0], atol=1e-10)

    return Contest(
        "all pairs",
        {"nodes": nodes},
        {"paramgraph": lambda: eigenpairs(operator), "NumPy": lambda: np.linalg.eigh(matrix)},
        check,
        theory={"nodes": 3},
        goals={"NumPy": FACTOR},
    )


def _own(solver: str) -> Solver:
    return lambda operator, k: eigenpairs(operator, k=k, solver=solver).eigenvalues.numpy()


def _smallest(operator: ShiftOperator, k: int) -> Values:
    return np.sort(spla.eigsh(operator.matrix, k=k, which="SA", v0=_start(operator), tol=1e-9)[0])


def _shift_invert(operator: ShiftOperator, k: int) -> Values:
    matrix = sp.csc_array(operator.matrix)
    return np.sort(spla.eigsh(matrix, k=k, sigma=-SPLIT, which="LM", v0=_start(operator), tol=1e-9)[0])


def _scipy_lobpcg(operator: ShiftOperator, k: int) -> Values:
    block = np.random.default_rng(0).standard_normal((operator.nodes, k))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that it did not converge, which its error says too
        return np.sort(spla.lobpcg(operator.matrix, block, largest=False, tol=1e-8, maxiter=200)[0])


def _torch_lobpcg(operator: ShiftOperator, k: int) -> Values:
    matrix = operator.to_torch(layout="coo")
    block = torch.randn(operator.nodes, k, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    # Its own tolerance, of a relative residual; 200 steps are where ours stop.
    return np.sort(torch.lobpcg(matrix, X=block, largest=False, niter=200)[0].numpy())


def _pygsp(operator: ShiftOperator, k: int) -> Values:
    from pygsp import graphs

    graph = graphs.Graph(sp.csr_matrix(_adjacency_of(operator)), lap_type="normalized")
    graph.compute_fourier_basis(n_eigenvectors=k)
    return np.asarray(graph.e)


def _scikit_learn(operator: ShiftOperator, k: int) -> Values:
    """Embed by its defaults; it gives no eigenvalues, so they are the Rayleigh quotients of its vectors."""
    from sklearn.manifold import spectral_embedding

    matrix = sp.csr_matrix(_adjacency_of(operator))
    found = spectral_embedding(matrix, n_components=k, random_state=0, drop_first=False)
    U = np.linalg.qr(found * np.sqrt(operator.degrees)[:, None])[0]
    return np.linalg.eigvalsh(U.T @ (operator.matrix @ U))


def _networkx(operator: ShiftOperator, k: int) -> Values:
    graph = nx.from_scipy_sparse_array(_adjacency_of(operator))
    return np.sort(nx.normalized_laplacian_spectrum(graph).real)[:k]


@cache
def _adjacency_of(operator: ShiftOperator) -> sp.csr_array:
    """Undo the symmetric normalization: W_ij = -L_ij sqrt(d_i d_j)."""
    scale = sp.diags_array(np.sqrt(operator.degrees))
    adjacency = sp.csr_array(-(scale @ operator.matrix @ scale))
    adjacency.setdiag(0.0)
    adjacency.eliminate_zeros()
    return adjacency


def _start(operator: ShiftOperator) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(operator.nodes)


OWN = ("dense", "arpack", "shift_invert", "lobpcg", "lobpcg_amg")
PEERS: dict[str, Solver] = {
    **{name: _own(name) for name in OWN},
    "SciPy, SA": _smallest,
    "SciPy, shift-invert": _shift_invert,
    "SciPy, LOBPCG": _scipy_lobpcg,
    "torch.lobpcg": _torch_lobpcg,
    "PyGSP": _pygsp,
    "scikit-learn": _scikit_learn,
    "networkx, dense": _networkx,
}
# What stops early, or where it has no tolerance to be told: its error is recorded, and no goal is set beside it.
INEXACT = {"SciPy, LOBPCG", "torch.lobpcg", "scikit-learn", "PyGSP"}
