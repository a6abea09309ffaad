"""What a refinement from the command line runs on, and how large it is."""

import math
from dataclasses import dataclass, replace
from typing import Literal, get_args

# What a fine-tune computes, and how its task is measured.
Kind = Literal["causal", "classifier", "encoder"]
Metric = Literal["accuracy", "probe", "loss"]
# Sizes of evaluation by kind of model: a causal model of 135 million parameters reads 64 tokens in 0.1 s.
SIZES = {"causal": (32, 32, 48), "other": (48, 96, 300)}


@dataclass(frozen=True)
class RefinementOptions:
    """What is refined, with which text, and at which strengths; ValueError refuses what is not allowed.

    Models are embedded names, local folders or names on the hub; `tuned` may be the folder of a LoRA adapter.
    The pretrained behaviour on the text `preserve` is protected: `texts` of it build the graphs, `held_out`
    others measure retention. `task` has data that the fine-tune has not seen, labelled or, for a language
    model, plain: `dev` texts pick, `test` texts report. The metric "auto" is the accuracy of a classifier, of
    a linear probe on an encoder, or the token loss of a language model. `strengths` are gammas of the filter,
    `scales` factors of the delta (WiSE-FT) for comparison; `default_strength` is written where nothing picks.
    """

    base: str
    tuned: str
    preserve: str
    task: str | None = None
    text_column: str = "text"
    label_column: str = "label"
    metric: Literal["auto"] | Metric = "auto"
    strengths: tuple[float, ...] = (0.03, 0.1, 0.3)
    scales: tuple[float, ...] = (0.8, 0.6, 0.4)
    default_strength: float = 0.1
    texts: int = 96
    held_out: int | None = None
    dev: int | None = None
    test: int | None = None
    max_length: int = 64
    batch_size: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        metrics = ("auto", *get_args(Metric))
        if self.metric not in metrics:
            raise ValueError(f"no metric {self.metric!r}; allowed: {', '.join(metrics)}")
        for name, values in (("strengths", self.strengths), ("scales", self.scales)):
            if not values or not all(math.isfinite(value) and value > 0 for value in values):
                raise ValueError(f"--{name} are {list(values)}: at least one, each a positive number")
        if max(self.scales) >= 1:
            raise ValueError(f"--scales are {list(self.scales)}: each below 1, which is the fine-tune itself")
        lowest = {
            "texts": 8,
            "held_out": 12,
            "dev": 8,
            "test": 8,
            "max_length": 4,
            "batch_size": 1,
            "seed": 0,
        }
        for name, least in lowest.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"--{name.replace('_', '-')} is {value}: at least {least} is needed")

    def quick(self) -> "RefinementOptions":
        """Return the same refinement, with a third of the text and two strengths."""
        return replace(
            self,
            strengths=(0.1, 0.3),
            scales=(0.7, 0.4),
            texts=32,
            held_out=16,
            dev=24,
            test=48,
            max_length=48,
        )

    def sizes(self, causal: bool) -> tuple[int, int, int]:
        """Return the numbers of held-out, dev and test texts."""
        held_out, dev, test = SIZES["causal" if causal else "other"]
        return self.held_out or held_out, self.dev or dev, self.test or test
