r"""The strongest directions of each matrix's change alone: :math:`\Delta' = \sum_{k < r} \sigma_k u_k v_k^T`."""

import math
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from paramgraph._checks import known_choice
from spectral_opt.study import AfterTraining, FinishedTune, Options
from spectral_opt.study.after_training._matrices import change_of, filter_tables, tables_of
from spectral_opt.study.after_training._options import share_of


class _Directions(NamedTuple):
    """Right singular vectors of a change, or left ones where these are shorter, and squared singular values."""

    squares: Float[Tensor, " modes"]
    vectors: Float[Tensor, "side modes"]
    on_rows: bool


def _read(options: Options) -> tuple[float, bool]:
    # A plan's `of` names the methods that are filtered.
    known_choice("share_of", options["share_of"], ("rank", "energy"))
    return share_of(options), options["share_of"] == "energy"


def _apply(tune: FinishedTune, options: Options) -> dict[str, Tensor]:
    share, of_energy = _read(options)
    found = tune.once(
        "directions",
        lambda: {
            name: _directions(change_of(tune, table)) for name, table in tables_of(tune.setting).items()
        },
    )
    ranks = {name: _rank(one.squares, share, of_energy) for name, one in found.items()}
    return filter_tables(tune, {name: partial(_cut, found[name], rank) for name, rank in ranks.items()})


def _directions(X: Float[Tensor, "rows columns"]) -> _Directions:
    # Of the smaller Gram matrix, in float64: a tenth of the time of an SVD of 1,536 x 384, and as exact as float32.
    on_rows = X.shape[0] < X.shape[1]
    wide = X.double()
    squares, vectors = torch.linalg.eigh(wide @ wide.T if on_rows else wide.T @ wide)
    return _Directions(squares.flip(0).clamp(min=0.0), vectors.flip(1).to(X.dtype), on_rows)


def _rank(squares: Float[Tensor, " modes"], share: float, of_energy: bool) -> int:
    """Give the smallest rank that has a share of the full rank, or of the squared norm."""
    if not of_energy or share in (0.0, 1.0):
        return math.ceil(share * len(squares))
    return int(torch.searchsorted(squares.cumsum(0), share * squares.sum())) + 1


def _cut(found: _Directions, rank: int, X: Float[Tensor, "rows columns"]) -> Float[Tensor, "rows columns"]:
    if rank == len(found.squares):
        return X
    vectors = found.vectors[:, :rank]
    return vectors @ (vectors.T @ X) if found.on_rows else (X @ vectors) @ vectors.T


AFTER = AfterTraining(
    name="svd_truncation",
    title="strongest directions (SVD)",
    description="The strongest singular directions of each matrix's change: a share of the rank, or of the energy.",
    apply=_apply,
    check=_read,
    options={"share": 0.5, "share_of": "rank"},
    paper="C. Eckart, G. Young, Psychometrika, 1936",
)
