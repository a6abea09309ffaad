"""Nulls of a refinement: its own operators on the wrong nodes, or turned into random directions."""

from dataclasses import replace
from typing import Literal

import torch

from paramgraph._checks import known_choice, whole_number
from paramgraph.graphs import random_rotation
from paramgraph.spectra import KroneckerModes, KroneckerPair, ShiftOperator, adjacency
from spectral_opt.preparation import EntryOperator

Null = Literal["permuted", "rotated"]


def check_null(kind: Null, seed: int) -> None:
    """Refuse an unknown null, and what is no seed."""
    known_choice("kind", kind, ("permuted", "rotated"))
    whole_number("seed", seed, 0)


def null_operator(
    operator: ShiftOperator | EntryOperator, kind: Null, seed: int
) -> ShiftOperator | EntryOperator:
    r"""Give an operator of the same spectrum, as the builders of these names do from features.

    .. math:: A \mapsto P A P^T \quad \text{or} \quad Q A Q^T, \qquad Q \sim \text{Haar}(O(n))

    On entries both sides, or the modes of both sides, each by itself.
    """
    generator = torch.Generator().manual_seed(seed)
    if isinstance(operator, EntryOperator):
        entries = operator.operator
        if isinstance(entries, KroneckerModes):
            return EntryOperator(entries.permuted(seed) if kind == "permuted" else entries.rotated(seed))
        if not isinstance(entries, KroneckerPair):
            raise ValueError(f"there is no {kind!r} null of {entries!r}: take scheme='rows' or 'columns'")
        return EntryOperator(type(entries)(*(_null(part, kind, generator) for part in entries.parts)))
    return _null(operator, kind, generator)


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
