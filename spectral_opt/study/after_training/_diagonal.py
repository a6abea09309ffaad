r"""The diagonal of the Fisher matrix of the preserved text: its product graph without a basis of its own.

.. math:: \Delta'_{ij} = \Delta_{ij} / (1 + \gamma F_{ij} / \bar F)

F is the mean squared gradient of a text, of the same draws as the energies of the product graph: both have the same
mean, and differ in their basis alone.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from paramgraph.measures import product_energy
from spectral_opt.study import FinishedTune, Options, StudySetting
from spectral_opt.study.after_training._matrices import TableFilter, filter_tables, tables_of
from spectral_opt.study.after_training._options import strength_of, switch_of
from spectral_opt.study.after_training._refiners import Objective, objective_of


def divided_by_fisher(tune: FinishedTune, options: Options) -> dict[str, Tensor]:
    """Divide each entry of the change by 1 + strength times its Fisher information over the mean of all."""
    strength, setting = strength_of(options), tune.setting
    objective = objective_of(options["objective"]) or "representation"
    fisher = setting.once(("diagonal Fisher", objective), lambda: _relative_fisher(setting, objective))
    filters = {group: _divide(1 + strength * F) for group, F in fisher.items()}
    return filter_tables(tune, filters, norm_matched=switch_of(options, "norm_matched"))


def _relative_fisher(setting: StudySetting, objective: Objective) -> dict[str, Float[Tensor, "rows columns"]]:
    tables = tables_of(setting)
    entries = {
        group: (torch.eye(table.shape[0]), torch.eye(table.shape[1])) for group, table in tables.items()
    }
    found = product_energy(setting.start, tables, entries, setting.calibration["preserve"], objective)
    total = sum(float(energy.values.sum(dtype=torch.float64)) for energy in found.values())
    mean = total / sum(energy.values.numel() for energy in found.values())
    return {group: energy.values / mean for group, energy in found.items()}


def _divide(divisor: Float[Tensor, "rows columns"]) -> TableFilter:
    return lambda X: X / divisor
