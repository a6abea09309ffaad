r"""RegMean: the start and the fine-tune merged by the inputs that each of them has on its own text.

Off-diagonal entries of the Gram matrices are multiplied by a factor, as the paper has it against overfitting few texts.
"""

import copy

import torch
from torch import Tensor

from spectral_opt.study import AfterTraining, FinishedTune, Options
from spectral_opt.study.after_training._grams import GramOf, between_texts, input_moments
from spectral_opt.study.after_training._options import share_of, strength_of


def _read(options: Options) -> tuple[float, float]:
    return strength_of(options), share_of(options, "off_diagonal")


def _apply(tune: FinishedTune, options: Options) -> dict[str, Tensor]:
    strength, off_diagonal = _read(options)
    setting = tune.setting

    def of_preserved() -> GramOf:
        return input_moments(setting, setting.start, setting.calibration["preserve"]).gram

    def of_task() -> GramOf:
        tuned = copy.deepcopy(setting.start)
        tuned.load_state_dict(tune.tuned)
        return input_moments(setting, tuned, setting.calibration["task"]).gram

    preserved, task = setting.once("regmean, preserved", of_preserved), tune.once("regmean, task", of_task)
    return between_texts(tune, _shrunk(task, off_diagonal), _shrunk(preserved, off_diagonal), strength)


def _shrunk(gram_of: GramOf, factor: float) -> GramOf:
    def shrunk(group: str) -> Tensor:
        gram = gram_of(group)
        return torch.lerp(torch.diag(gram.diagonal()), gram, factor)

    return shrunk


AFTER = AfterTraining(
    name="regmean",
    title="RegMean of start and fine-tune",
    description="Outputs nearest to the tuned ones on task text and, strength times, to the start's on preserved text.",
    apply=_apply,
    check=_read,
    options={"strength": 1.0, "off_diagonal": 0.9},
    paper="RegMean, arXiv 2212.09849",
)
