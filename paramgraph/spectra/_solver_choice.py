"""Which eigensolver suits a problem, and why; and the chain of those to fall back on."""

import importlib
import pkgutil
from functools import cache
from typing import cast

import numpy as np

import paramgraph.spectra.solvers
from paramgraph.spectra.eigenproblem import EigenProblem, Solver
from paramgraph.spectra.fill_in import estimate_fill_in

# One thread: 16 pairs of 384 nodes take 11 ms dense and 13 ms by Lanczos, of 576 nodes 23 and 15 ms; dense
# grows with the cube, but passes no pair over.
DENSE_NODES = 400
# Beyond, a dense matrix alone takes 0.5 GB, so `auto` leaves it to the one who asks for it.
DENSE_FALLBACK_NODES = 8192
# A 64 x 64 grid has 95 levels, points in the plane 45 to 60: shift-invert wins by 3 to 4 times. In three
# dimensions there are 13 to 28 and it loses by two; 20-NN graphs of wide features have 2.
LONG_LEVELS = 40
# Upper bound of the entries of a factor, 12 bytes each: 2.4 GB where minimum degree saves nothing.
FACTOR_ENTRIES = 200_000_000


@cache
def solver_modules() -> dict[str, Solver]:
    """Import the eigensolvers, one for each file of `paramgraph/spectra/solvers`."""
    found = pkgutil.iter_modules(paramgraph.spectra.solvers.__path__)
    return {
        entry.name: cast(Solver, importlib.import_module(f"paramgraph.spectra.solvers.{entry.name}"))
        for entry in found
    }


def list_solvers() -> list[str]:
    """Name the eigensolvers, sorted: one for each file of `paramgraph/spectra/solvers`.

    Examples
    --------
    >>> list_solvers()
    ['arpack', 'dense', 'lobpcg', 'lobpcg_amg', 'shift_invert']
    """
    return sorted(solver_modules())


def choose_solvers(problem: EigenProblem) -> tuple[list[str], str]:
    """Order the solvers for a problem, the best first.

    Small problems, and those that ask for more than an eighth of all pairs, are dense. Long graphs (chains,
    grids, trees), whose lowest pairs lie close together while factors stay sparse, go to shift-invert; all
    others to Lanczos on the flipped operator. Behind these stand the other of the two where its factor fits
    into memory, multigrid where pyamg is installed, plain LOBPCG, and dense up to 8,192 nodes.

    The chain is never empty and holds no solver that refuses the problem; the reason says what was seen.
    """
    nodes, count = problem.nodes, problem.count
    if nodes <= DENSE_NODES:
        return ["dense"], f"no more than {DENSE_NODES} nodes"
    small = nodes <= DENSE_FALLBACK_NODES
    if 8 * count > nodes and small:
        return ["dense"], f"{count} pairs are more than an eighth of {nodes} nodes"
    reason = f"{count} pairs of {nodes} nodes, mean degree {problem.mean_degree:.3g}"
    if isinstance(problem.matrix, np.ndarray):
        chain = ["arpack", "lobpcg"]
    else:
        fill = estimate_fill_in(problem.matrix)
        affordable = fill.entries <= FACTOR_ENTRIES
        chain = ["arpack", *(["shift_invert"] if affordable else []), "lobpcg_amg", "lobpcg"]
        if affordable and fill.levels >= LONG_LEVELS:
            chain = ["shift_invert", "arpack", "lobpcg_amg", "lobpcg"]
        reason += f", {fill}, about {fill.levels:.3g} levels"
    chain += ["dense"] if small else []
    modules = solver_modules()
    chain = [name for name in chain if not modules[name].refusal(problem)] or ["dense"]
    return chain, reason
