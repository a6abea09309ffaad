"""GPM: steps orthogonal to the inputs of the preserved text."""

import torch

from spectral_opt.study import Method, Training
from spectral_opt.study.methods._input_subspace import OPTIONS, keep_out, read_subspace


def _prepare(training: Training) -> None:
    keep_out(training, torch.ones_like)


METHOD = Method(
    name="gpm",
    title="GPM",
    description="Steps of the encoder's matrices are orthogonal to the subspace of their inputs on the preserved text.",
    check=read_subspace,
    prepare=_prepare,
    options=OPTIONS,
    paper="arXiv 2103.09762",
)
