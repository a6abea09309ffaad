"""DoRA: a change of low rank of the directions of a layer's weights, and their lengths apart from it."""

from functools import partial

from spectral_opt.study import Method
from spectral_opt.study.methods._low_rank import OPTIONS, prepare_low_rank, read_low_rank

METHOD = Method(
    name="dora",
    title="DoRA",
    description="LoRA on the directions of weights, with their lengths trained beside it, and the head.",
    check=read_low_rank,
    prepare=partial(prepare_low_rank, use_dora=True),
    options=OPTIONS,
    paper="arXiv 2402.09353",
    extra="peft",
)
