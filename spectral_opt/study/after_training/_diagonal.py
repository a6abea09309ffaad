r"""The diagonal of the Fisher matrix of the preserved text: its product graph without a basis of its own.

.. math:: \Delta'_{ij} = \Delta_{ij} / (1 + \gamma F_{ij} / \bar F)

F is the mean squared gradient of a text, of the same draws as the energies of the product graph: both have the same
mean, and differ in their basis alone.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from paramgraph._checks import known_choice
from spectral_opt.study import FinishedTune, Options, StudySetting, diagonal_fisher
from spectral_opt.study.after_training._matrices import TableFilter, filter_tables, tables_of
from spectral_opt.study.after_training._options import OBJECTIVES, objective_of, strength_of, switch_of


def read_fisher(options: Options) -> tuple[float, bool]:
    """Read strength and whether norms are matched, and check the objective; TypeError or ValueError for others."""
    known_choice("objective", options["objective"], OBJECTIVES)
    return strength_of(options), switch_of(options, "norm_matched")


def divided_by_fisher(tune: FinishedTune, options: Options) -> dict[str, Tensor]:
    """Divide each entry of the change by 1 + strength times its Fisher information over the mean of all."""
    (strength, norm_matched), setting = read_fisher(options), tune.setting
    objective = objective_of(options, setting.start)
    fisher = setting.once(("diagonal Fisher", objective), lambda: _relative_fisher(setting, objective))
    filters = {group: _divide(1 + strength * F) for group, F in fisher.items()}
    return filter_tables(tune, filters, norm_matched=norm_matched)


def _relative_fisher(
    setting: StudySetting, objective: Literal["representation", "labels"]
) -> dict[str, Float[Tensor, "rows columns"]]:
    found = diagonal_fisher(setting.start, setting.calibration["preserve"], objective=objective)
    fisher = {group: table.gather(found) for group, table in tables_of(setting).items()}
    total = sum(float(F.sum(dtype=torch.float64)) for F in fisher.values())
    mean = total / sum(F.numel() for F in fisher.values())
    return {group: F / mean for group, F in fisher.items()}


def _divide(divisor: Float[Tensor, "rows columns"]) -> TableFilter:
    return lambda X: X / divisor
