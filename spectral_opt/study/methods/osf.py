"""OSF: only the weak singular directions of each pretrained weight are trained."""

from typing import Any

from paramgraph._checks import check_number
from spectral_opt.study import Method, Training
from spectral_opt.study.methods._adapters import adapt


def _prepare(training: Training) -> None:
    kept = training.options["kept"]
    check_number("osf", "kept", kept, 0.0, 1.0)

    def config(layers: list[str]) -> Any:
        from peft import OSFConfig

        return OSFConfig(target_modules=layers, effective_rank=float(str(kept)))

    adapt(training, config)


METHOD = Method(
    name="osf",
    title="OSF",
    description="The strong singular directions of the encoder's weights stay; the weak ones and the head are trained.",
    prepare=_prepare,
    # The share of singular directions that stay; PEFT's default.
    options={"kept": 0.5},
    paper="arXiv 2504.07097",
    extra="peft",
)
