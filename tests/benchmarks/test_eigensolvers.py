"""`auto` beside every single eigensolver, and beside plain SciPy; each spectrum is checked where it is timed.

Run by `pytest tests/benchmarks/test_eigensolvers.py -m bench -s`. The aim: at most 1.2 times the best single solver and
5 ms more, on each graph. Pairs are interleaved (A B A B ...), 20 of small graphs and 3 to 5 of those that
take seconds. At 50,000 nodes auto runs the same code as its rival after 30 ms of choosing, and a busy machine
still made 1.28 of it: run this alone.
"""

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
import scipy.sparse.linalg as spla
import torch
from torch_geometric.data import Data

from paramgraph import (
    CosineKNN,
    NotConvergedError,
    ShiftOperator,
    eigenpairs,
    laplacian,
    list_solvers,
    rows,
    weights,
)
from spectral_opt.tasks import load_model

pytestmark = pytest.mark.bench

FACTOR, OFFSET = 1.2, 0.005
# Slower than the best by 20 and more (one run each): timed once they would be most of this file's time.
HOPELESS = {
    "knn_5000": {"dense", "shift_invert"},
    "knn_20000": {"dense", "shift_invert", "lobpcg", "lobpcg_amg"},
    "knn_50000": {"dense", "shift_invert", "lobpcg", "lobpcg_amg"},
    "ring_4096": {"dense", "arpack", "lobpcg"},
    "grid_64x64": {"dense", "lobpcg"},
    "thirty_blocks": {"lobpcg", "lobpcg_amg"},
    "minilm": {"lobpcg", "lobpcg_amg", "shift_invert"},
    "smollm2": {"lobpcg", "lobpcg_amg", "shift_invert"},
}


class Case(NamedTuple):
    make: Callable[[], list[ShiftOperator]]
    k: int = 16
    pairs: int = 20


def knn(nodes: int) -> list[ShiftOperator]:
    x = torch.randn(nodes, 64, generator=torch.Generator().manual_seed(0))
    return [laplacian(CosineKNN(k=20)(Data(x=x, num_nodes=nodes)))]


def grid() -> list[ShiftOperator]:
    return [laplacian(nx.convert_node_labels_to_integers(nx.grid_2d_graph(64, 64)))]


def blocks() -> list[ShiftOperator]:
    return [laplacian(nx.disjoint_union_all([nx.random_regular_graph(4, 100, seed=i) for i in range(30)]))]


def model_rows(name: str, largest: int = 37) -> list[ShiftOperator]:
    """Build the 10-NN graphs of the rows of a model's matrices, evenly spread over its depth if there are more."""
    model = load_model(name).encoder
    tables = list(rows(model).values())
    chosen = tables[:: -(-len(tables) // largest)]
    return [laplacian(CosineKNN(k=10)(table.to_data(weights(model, table)))) for table in chosen]


CASES = {
    "knn_1000": Case(lambda: knn(1000)),
    "knn_5000": Case(lambda: knn(5000)),
    "knn_20000": Case(lambda: knn(20_000), pairs=5),
    "knn_50000": Case(lambda: knn(50_000), pairs=4),
    "ring_4096": Case(lambda: [laplacian(nx.cycle_graph(4096))]),
    "grid_64x64": Case(grid),
    "thirty_blocks": Case(blocks, k=48, pairs=10),
    "minilm": Case(lambda: model_rows("embedded"), pairs=3),
    "smollm2": Case(lambda: model_rows("SmolLM2-135M-Instruct"), pairs=3),
}


def timed(operators: list[ShiftOperator], k: int, solver: str) -> tuple[float, list[np.ndarray]]:
    started = time.perf_counter()
    spectra = [eigenpairs(operator, k=k, solver=solver) for operator in operators]
    return time.perf_counter() - started, [spectrum.eigenvalues.numpy() for spectrum in spectra]


def singles(
    name: str, operators: list[ShiftOperator], k: int, expected: list[np.ndarray]
) -> dict[str, float]:
    """Time each single solver once, and compare what it finds."""
    times = {}
    for solver in sorted(set(list_solvers()) - HOPELESS.get(name, set())):
        try:
            times[solver], found = timed(operators, k, solver)
        except NotConvergedError:
            continue
        for one, other in zip(found, expected, strict=True):
            # Values are good to the squared residual, 1e-15, over the gap to the next pair.
            np.testing.assert_allclose(one, other, atol=1e-9)
    return times


@pytest.mark.parametrize("name", CASES)
def test_auto_is_close_to_the_best_single_solver(benchmark, name):
    case = CASES[name]
    operators = case.make()
    first = eigenpairs(operators[0], k=case.k)
    expected = timed(operators, case.k, "auto")[1]
    once = singles(name, operators, case.k, expected)
    # One run does not tell near ones apart: the best two are both paired with auto.
    rivals = sorted(once, key=once.__getitem__)[:2]
    times: dict[str, list[float]] = {solver: [] for solver in ["auto", *rivals]}
    for turn in range(case.pairs):
        # Forwards and backwards in turn: a drifting machine favours neither.
        for solver in list(times)[:: 1 if turn % 2 else -1]:
            times[solver].append(timed(operators, case.k, solver)[0])
    best = min(rivals, key=lambda solver: statistics.median(times[solver]))
    pairs = list(zip(times["auto"], times[best], strict=True))
    ratio = statistics.median(auto / single for auto, single in pairs)
    over = statistics.median(auto - FACTOR * single for auto, single in pairs) / len(operators)
    seconds = statistics.median(times["auto"])
    benchmark.extra_info.update(best=best, ratio=ratio, pairs=case.pairs, reason=first.reason)
    print(
        f"\n{name}: auto {1e3 * seconds:.1f} ms, {ratio:.2f} x {best} ({case.pairs} pairs); "
        f"ran {first.solver}; once each: { {solver: round(1e3 * t, 1) for solver, t in once.items()} } ms"
    )
    benchmark.pedantic(timed, args=(operators, case.k, "auto"), rounds=1)
    assert over <= OFFSET, f"auto took {1e3 * over:.1f} ms more than {FACTOR} x {best} ({ratio:.2f} x)"


@pytest.mark.parametrize("name", ["knn_1000", "knn_5000", "ring_4096", "grid_64x64"])
def test_auto_beside_plain_scipy(benchmark, name):
    """SciPy as it is called in most code: `eigsh` on 2I - L of expanders, and at a shift on long graphs."""
    (operator,) = CASES[name].make()
    matrix = operator.to_scipy()
    start = np.random.default_rng(0).standard_normal(operator.nodes)

    def plain():
        if name.startswith("knn"):
            flipped = 2 * sp.eye_array(operator.nodes, format="csr") - matrix
            values = 2 - spla.eigsh(flipped, k=16, which="LA", v0=start, tol=1e-9)[0]
        else:
            values = spla.eigsh(matrix.tocsc(), k=16, sigma=-1e-5, which="LM", v0=start, tol=1e-9)[0]
        return np.sort(values)

    def ours():
        return eigenpairs(operator, k=16).eigenvalues.numpy()

    np.testing.assert_allclose(ours(), plain(), atol=1e-8)  # SciPy's values are not refined
    ratios = []
    for _ in range(10):
        times = []
        for run in (ours, plain):
            started = time.perf_counter()
            run()
            times.append(time.perf_counter() - started)
        ratios.append(times[0] / times[1])
    benchmark.extra_info["time over SciPy's eigsh"] = statistics.median(ratios)
    print(f"\n{name}: {statistics.median(ratios):.2f} x SciPy's eigsh")
    benchmark.pedantic(ours, rounds=3)
