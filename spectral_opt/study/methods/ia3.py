"""IA3: a factor for each channel of keys, values and inner states."""

from typing import Any

from spectral_opt.study import Method, Training
from spectral_opt.study.methods._adapters import adapt


def _prepare(training: Training) -> None:
    def config(layers: list[str]) -> Any:
        from peft import IA3Config
        from peft.utils.constants import TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING

        if training.model.config.model_type in TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING:
            return IA3Config()
        # PEFT does not know which layers of this architecture the paper means.
        return IA3Config(target_modules=layers, feedforward_modules=[])

    adapt(training, config)


METHOD = Method(
    name="ia3",
    title="IA3",
    description="Factors on keys, values and inner states (on all layers where PEFT knows none), and the head.",
    prepare=_prepare,
    paper="arXiv 2205.05638",
    extra="peft",
)
