"""Nulls of an operator: the same eigenvalues on the wrong nodes, or in random directions."""

from dataclasses import replace
from typing import Literal, overload

import torch

from paramgraph._checks import known_choice, whole_number
from paramgraph.graphs import random_rotation
from paramgraph.spectra.kronecker_modes import KroneckerModes
from paramgraph.spectra.kronecker_operator import KroneckerOperator, KroneckerPair
from paramgraph.spectra.shift_operator import ShiftOperator
from paramgraph.spectra.shifts import adjacency

Null = Literal["permuted", "rotated"]


@overload
def null_operator(operator: ShiftOperator, kind: Null, seed: int) -> ShiftOperator: ...


@overload
def null_operator(operator: KroneckerOperator, kind: Null, seed: int) -> KroneckerOperator: ...


def null_operator(
    operator: ShiftOperator | KroneckerOperator, kind: Null, seed: int
) -> ShiftOperator | KroneckerOperator:
    r"""Give an operator of the same spectrum, as the builders of these names do from features.

    .. math:: A \mapsto P A P^T \quad \text{or} \quad Q A Q^T, \qquad Q \sim \text{Haar}(O(n))

    On entries both sides, or the modes of both sides, each by itself. ValueError for an unknown null, and for "rotated"
    of a Laplacian, which would be none.
    """
    known_choice("kind", kind, ("permuted", "rotated"))
    whole_number("seed", seed, 0)
    if isinstance(operator, KroneckerModes):
        return operator.permuted(seed) if kind == "permuted" else operator.rotated(seed)
    generator = torch.Generator().manual_seed(seed)
    if isinstance(operator, ShiftOperator):
        return _null(operator, kind, generator)
    if not isinstance(operator, KroneckerPair):
        raise ValueError(f"there is no {kind!r} null of {operator!r}: take one of its rows or of its columns")
    return type(operator)(*(_null(part, kind, generator) for part in operator.parts))


def _null(operator: ShiftOperator, kind: Null, generator: torch.Generator) -> ShiftOperator:
    if kind == "permuted":
        return _permuted(operator, torch.randperm(operator.nodes, generator=generator))
    if operator.kind != "adjacency":
        raise ValueError(
            "a Laplacian that is rotated is no Laplacian: take the null 'permuted', or shift='adjacency'"
        )
    matrix = torch.from_numpy(operator.to_dense())
    orthogonal = random_rotation(operator.nodes, operator.nodes, generator)
    turned = orthogonal @ matrix @ orthogonal.T
    return adjacency(((turned + turned.T) / 2).numpy())


def _permuted(operator: ShiftOperator, new_label: torch.Tensor) -> ShiftOperator:
    order = torch.argsort(new_label).numpy()
    return replace(
        operator,
        matrix=operator.matrix[order][:, order],
        degrees=operator.degrees[order],
        component_labels=operator.component_labels[order],
        similar=None if operator.similar is None else _permuted(operator.similar, new_label),
        signs=None if operator.signs is None else operator.signs[order],
    )
