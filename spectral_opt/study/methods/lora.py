"""LoRA: a change of low rank beside each linear layer."""

from functools import partial

from spectral_opt.study import Method
from spectral_opt.study.methods._low_rank import OPTIONS, prepare_low_rank, read_low_rank

METHOD = Method(
    name="lora",
    title="LoRA",
    description="Each linear layer of the encoder gets a change of low rank; that and the head are trained.",
    check=read_low_rank,
    prepare=partial(prepare_low_rank, use_dora=False),
    options=OPTIONS,
    paper="arXiv 2106.09685",
    extra="peft",
)
