"""OSF: only the weak singular directions of each pretrained weight are trained."""

from typing import Any

from paramgraph._checks import check_number
from spectral_opt.study import Method, Options, Training
from spectral_opt.study.methods._adapters import adapt


def _read(options: Options) -> float:
    check_number("osf", "kept", options["kept"], 0.0, 1.0)
    return float(str(options["kept"]))


def _prepare(training: Training) -> None:
    kept = _read(training.options)

    def config(layers: list[str]) -> Any:
        from peft import OSFConfig

        return OSFConfig(target_modules=layers, effective_rank=kept)

    adapt(training, config)


METHOD = Method(
    name="osf",
    title="OSF",
    description="The strong singular directions of the encoder's weights stay; the weak ones and the head are trained.",
    check=_read,
    prepare=_prepare,
    # The share of singular directions that stay; PEFT's default.
    options={"kept": 0.5},
    paper="arXiv 2504.07097",
    extra="peft",
)
