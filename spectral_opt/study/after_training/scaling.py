"""The whole change by one factor, between the start and the fine-tune."""

from torch import Tensor

from spectral_opt.study import AfterTraining, FinishedTune, Options
from spectral_opt.study.after_training._matrices import filter_tables, tables_of
from spectral_opt.study.after_training._options import strength_of


def _read(options: Options) -> float:
    return strength_of(options, "factor")


def _apply(tune: FinishedTune, options: Options) -> dict[str, Tensor]:
    factor = _read(options)
    return filter_tables(tune, dict.fromkeys(tables_of(tune.setting), lambda X: factor * X))


AFTER = AfterTraining(
    name="scaling",
    title="scaled (WiSE-FT)",
    description="The change times a factor: 0 is the start, 1 the fine-tune.",
    apply=_apply,
    check=_read,
    options={"factor": 0.5},
    paper="WiSE-FT, arXiv 2109.01903",
)
