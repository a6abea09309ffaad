"""A change of low rank beside each linear layer, whole (LoRA) or of the direction alone (DoRA)."""

from typing import Any

from paramgraph._checks import non_negative, whole_number
from spectral_opt.study import Options, Training
from spectral_opt.study.methods._adapters import adapt

# alpha / rank = 2, PEFT's and the papers' usual scale.
OPTIONS: Options = {"rank": 8, "alpha": 16.0}


def read_low_rank(options: Options) -> tuple[int, float]:
    """Read rank and alpha; TypeError or ValueError for anything else."""
    return whole_number("rank", options["rank"], 1), non_negative("alpha", options["alpha"])


def prepare_low_rank(training: Training, *, use_dora: bool) -> None:
    """Put W + alpha / rank B A in place of each W, B = 0 at the start; DoRA trains lengths of columns too."""
    rank, alpha = read_low_rank(training.options)

    def config(layers: list[str]) -> Any:
        from peft import LoraConfig

        return LoraConfig(r=rank, lora_alpha=alpha, target_modules=layers, use_dora=use_dora)

    adapt(training, config)
