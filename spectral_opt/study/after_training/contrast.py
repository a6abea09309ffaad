r"""Contrast of the column graphs of two texts, both of the start: what the task needs is left alone.

.. math:: \Delta' = \Delta (C_t + \rho I) (C_t + \gamma C_p + \rho I)^{-1}

That is :func:`paramgraph.contrast` with a Tikhonov response, solved for one strength and not by its modes.
"""

import torch
from torch import Tensor

from spectral_opt.study import AfterTraining, FinishedTune, Options
from spectral_opt.study.after_training._grams import GramOf, between_texts, input_moments
from spectral_opt.study.after_training._options import strength_of


def _read(options: Options) -> tuple[float, float]:
    return strength_of(options), strength_of(options, "ridge")


def _apply(tune: FinishedTune, options: Options) -> dict[str, Tensor]:
    strength, ridge = _read(options)
    setting = tune.setting

    def graphs(which: str) -> GramOf:
        found = input_moments(setting, setting.start, setting.calibration[which])
        return lambda group: torch.from_numpy(found.operator(group).to_dense())

    task = setting.once("columns of the task", lambda: graphs("task"))
    preserved = setting.once("columns to be preserved", lambda: graphs("preserve"))

    def needed(group: str) -> Tensor:
        graph = task(group)
        return graph + ridge * torch.eye(len(graph))

    return between_texts(tune, needed, preserved, strength)


AFTER = AfterTraining(
    name="contrast",
    title="contrast of task and preserved text",
    description="Each mode of the change over 1 + strength times what preserved text has in it in units of the task's.",
    apply=_apply,
    check=_read,
    options={"strength": 1.0, "ridge": 0.1},
)
