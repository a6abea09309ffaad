"""Nulls of an operator: its eigenvalues on the wrong nodes or modes, or the least part of it alone."""

from dataclasses import replace
from typing import Literal, get_args, overload

import numpy as np
import torch

from paramgraph._checks import known_choice, seed_number
from paramgraph.graphs import random_rotation
from paramgraph.spectra.eigensolve import eigenpairs
from paramgraph.spectra.kronecker_modes import KroneckerModes
from paramgraph.spectra.kronecker_operator import KroneckerOperator, KroneckerPair
from paramgraph.spectra.shift_operator import ShiftOperator
from paramgraph.spectra.shifts import adjacency

Null = Literal["permuted", "rotated", "strongest", "diagonal", "swapped"]


@overload
def null_operator(operator: ShiftOperator, kind: Null, seed: int) -> ShiftOperator: ...


@overload
def null_operator(operator: KroneckerOperator, kind: Null, seed: int) -> KroneckerOperator: ...


def null_operator(
    operator: ShiftOperator | KroneckerOperator, kind: Null, seed: int
) -> ShiftOperator | KroneckerOperator:
    r"""Give an operator that knows less than this one: what it does better than its null is due to the rest.

    .. math::
        \text{permuted } P A P^T, \quad \text{rotated } Q A Q^T, \quad \text{swapped } \sum_k \lambda_{n-k} u_k u_k^T,
        \quad \text{strongest } \lambda_0 u_0 u_0^T, \quad \text{diagonal } A_{ii}

    P is a random permutation, :math:`Q \sim \text{Haar}(O(n))`, and eigenvalues fall. The first three have the spectrum
    of A. On entries both sides are changed, or the modes of both sides, each by itself; those that stay as "strongest"
    are of the strongest mode of either side. The strong modes of a symmetric Laplacian are those of small eigenvalues:
    "strongest" leaves its null space, and all other modes have their mean eigenvalue; that and "swapped" are no
    Laplacians any more. Only "permuted" and "rotated" read the seed. ValueError for an unknown null, and for "rotated"
    and "diagonal" of a Laplacian.
    """
    known_choice("kind", kind, get_args(Null))
    seed = seed_number(seed)
    if isinstance(operator, KroneckerModes):
        return _of_modes(operator, kind, seed)
    generator = torch.Generator().manual_seed(seed)
    if isinstance(operator, ShiftOperator):
        return _null(operator, kind, generator)
    if not isinstance(operator, KroneckerPair):
        raise ValueError(f"there is no {kind!r} null of {operator!r}: take one of its rows or of its columns")
    return type(operator)(*(_null(part, kind, generator) for part in operator.parts))


def _of_modes(operator: KroneckerModes, kind: Null, seed: int) -> KroneckerModes:
    if kind == "permuted":
        return operator.permuted(seed)
    if kind == "rotated":
        return operator.rotated(seed)
    if kind == "strongest":
        return operator.strongest()
    return operator.diagonal() if kind == "diagonal" else operator.swapped()


def _null(operator: ShiftOperator, kind: Null, generator: torch.Generator) -> ShiftOperator:
    if kind == "permuted":
        return _permuted(operator, torch.randperm(operator.nodes, generator=generator))
    if operator.kind == "laplacian" and (kind in ("rotated", "diagonal") or not operator.symmetric):
        raise ValueError(
            f"the {kind!r} null of a Laplacian ({operator.normalization!r}) says nothing: take 'permuted', or "
            "shift='adjacency'"
        )
    if operator.kind == "laplacian" and kind == "strongest":
        others = np.eye(operator.nodes) - operator.null_space() @ operator.null_space().T
        mean = operator.matrix.diagonal().sum() / max(operator.nodes - operator.nullity, 1)
        return _symmetric(torch.from_numpy(mean * others))
    if kind == "diagonal":
        return adjacency(np.diag(operator.matrix.diagonal()))
    if kind == "rotated":
        orthogonal = random_rotation(operator.nodes, operator.nodes, generator)
        return _symmetric(orthogonal @ torch.from_numpy(operator.to_dense()) @ orthogonal.T)
    pairs = eigenpairs(operator, k=1 if kind == "strongest" else None)
    return _symmetric((pairs.eigenvectors * pairs.eigenvalues.flip(0)) @ pairs.eigenvectors.T)


def _symmetric(matrix: torch.Tensor) -> ShiftOperator:
    return adjacency(((matrix + matrix.T) / 2).numpy())


def _permuted(operator: ShiftOperator, new_label: torch.Tensor) -> ShiftOperator:
    order = torch.argsort(new_label).numpy()
    matrix = operator.matrix[order][:, order]
    if not isinstance(matrix, np.ndarray):
        matrix.sort_indices()
    return replace(
        operator,
        matrix=matrix,
        degrees=operator.degrees[order],
        component_labels=operator.component_labels[order],
        similar=None if operator.similar is None else _permuted(operator.similar, new_label),
        signs=None if operator.signs is None else operator.signs[order],
    )
