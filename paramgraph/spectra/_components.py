"""Solve an eigenproblem component by component, so that equal components cannot hide each other's eigenvalues."""

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Float, Int64

from paramgraph.graphs import Matrix

Members = Int64[np.ndarray, "members"]
Pairs = tuple[Float[np.ndarray, " count"], Float[np.ndarray, "members count"]]


def cut_into_components(
    labels: Int64[np.ndarray, " nodes"], *matrices: Matrix
) -> Iterator[tuple[Members, tuple[Matrix, ...]]]:
    """Yield the nodes of each component, and its block of each matrix."""
    sizes = np.bincount(labels)
    if len(sizes) == 1:
        yield np.arange(len(labels)), matrices
        return
    order, ends = np.argsort(labels, kind="stable"), np.cumsum(sizes)
    sorted_ones = [matrix[order][:, order] for matrix in matrices]
    for start, end in zip((ends - sizes).tolist(), ends.tolist(), strict=True):
        yield order[start:end], tuple(matrix[start:end, start:end] for matrix in sorted_ones)


def solve_by_component(
    labels: Int64[np.ndarray, " nodes"],
    matrices: tuple[Matrix, ...],
    solve: Callable[..., Pairs | None],
    descending: bool,
    out: Float[np.ndarray, "nodes wanted"],
) -> Float[np.ndarray, " wanted"]:
    """Call `solve(members, *blocks)` for each component, and write the vectors of lowest frequency of all into `out`.

    Returns their eigenvalues, in order. A component that has nothing to give answers None.
    """
    found = [
        (members, *pairs)
        for members, blocks in cut_into_components(labels, *matrices)
        if (pairs := solve(members, *blocks)) is not None
    ]
    if not found:
        return np.zeros(0)
    sizes = [len(values) for _, values, _ in found]
    part, column = (
        np.repeat(np.arange(len(found)), sizes),
        np.concatenate([np.arange(size) for size in sizes]),
    )
    values = np.concatenate([values for _, values, _ in found])
    order = np.argsort(-values if descending else values, kind="stable")[: out.shape[1]]
    for number in np.unique(part[order]):
        members, _, vectors = found[number]
        targets = np.flatnonzero(part[order] == number)
        out[np.ix_(members, targets)] = vectors[:, column[order[targets]]]
    return values[order]
