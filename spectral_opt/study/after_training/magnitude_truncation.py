"""The largest entries of the change alone."""

import torch
from torch import Tensor

from spectral_opt.study import AfterTraining, FinishedTune, Options
from spectral_opt.study.after_training._matrices import change_of, filter_tables, tables_of
from spectral_opt.study.after_training._options import share_of


def _apply(tune: FinishedTune, options: Options) -> dict[str, Tensor]:
    tables = tables_of(tune.setting)
    sizes = torch.cat([change_of(tune, table).abs().flatten() for table in tables.values()])
    kept = round(share_of(options) * len(sizes))
    # Of equal entries at the threshold all are kept, so that no order of them matters.
    least = sizes.kthvalue(len(sizes) - kept + 1).values if kept else torch.inf
    return filter_tables(tune, dict.fromkeys(tables, lambda X: torch.where(X.abs() >= least, X, 0.0)))


AFTER = AfterTraining(
    name="magnitude_truncation",
    title="largest entries",
    description="The entries of the change that are largest over all matrices, a share of them; the others go back.",
    apply=_apply,
    check=share_of,
    options={"share": 0.5},
    paper="trimming of TIES, arXiv 2306.01708",
)
