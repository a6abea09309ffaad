"""EWC after training: each entry of the change by what the preserved text's gradients have in it."""

from spectral_opt.study import AfterTraining
from spectral_opt.study.after_training._diagonal import divided_by_fisher, read_fisher

AFTER = AfterTraining(
    name="diagonal_fisher",
    title="diagonal Fisher",
    description="Each entry of the change over 1 + strength times its Fisher information on the preserved text.",
    apply=divided_by_fisher,
    check=read_fisher,
    options={"strength": 1.0, "norm_matched": False, "objective": None},
    paper="EWC, arXiv 1612.00796, after training",
)
