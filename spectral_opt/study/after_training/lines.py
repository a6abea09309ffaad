r"""The change scaled by depth: early layers hold what is general, late ones what is of the task.

.. math:: \Delta'_l = (\alpha + \beta \tfrac{l}{L - 1}) \Delta_l, \qquad l = 0, \dots, L - 1
"""

from functools import partial

import torch
from torch import Tensor

from spectral_opt.study import AfterTraining, FinishedTune, Options
from spectral_opt.study.after_training._matrices import filter_tables, tables_of
from spectral_opt.study.after_training._options import strength_of


def _read(options: Options) -> tuple[float, float]:
    return strength_of(options, "alpha"), strength_of(options, "beta")


def _apply(tune: FinishedTune, options: Options) -> dict[str, Tensor]:
    first, rise = _read(options)
    # Before the layers, as a projection of the embeddings, is as deep as the first; layers of one weight are all deep.
    depths = {group: max(0, *table.layer) for group, table in tables_of(tune.setting).items()}
    last = max(depths.values())
    factors = {group: first + rise * (depth / last if last else 1.0) for group, depth in depths.items()}
    return filter_tables(tune, {group: partial(torch.mul, factor) for group, factor in factors.items()})


AFTER = AfterTraining(
    name="lines",
    title="scaled by depth (LiNeS)",
    description="The change of each layer times alpha + beta times its depth, from 0 at the first to 1 at the last.",
    apply=_apply,
    check=_read,
    options={"alpha": 0.5, "beta": 0.5},
    paper="LiNeS, arXiv 2410.17146",
)
