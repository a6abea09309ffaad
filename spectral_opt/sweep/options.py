"""What a refinement from the command line runs on, and how large it is."""

import math
from dataclasses import dataclass, replace
from typing import Literal, get_args

from spectral_opt.refinement import Rest
from spectral_opt.sweep._metrics import METRICS
from spectral_opt.sweep._words import NULLS, SweepNull

Graph = Literal["product", "columns", "rows"]
# Gammas by graph: those of the product are in units of the mean energy of its modes.
STRENGTHS: dict[Graph, tuple[float, ...]] = {
    "product": (0.03, 0.1, 0.3, 1.0, 3.0),
    "columns": (0.03, 0.1, 0.3),
    "rows": (0.03, 0.1, 0.3),
}
# What is written where nothing picks.
DEFAULT_STRENGTH: dict[Graph, float] = {"product": 1.0, "columns": 0.1, "rows": 0.1}
# Sizes of evaluation by kind of model: a causal model of 135 million parameters reads 64 tokens in 0.1 s.
SIZES = {"causal": (32, 32, 48), "other": (96, 160, 400)}


@dataclass(frozen=True)
class RefinementOptions:
    """What is refined, with which text, and at which strengths; ValueError refuses what is not allowed.

    Models are embedded names, local folders or names on the hub; `tuned` may be the folder of a LoRA adapter.
    The pretrained behaviour on the text `preserve` is protected: `texts` of it build the graphs, `held_out`
    others measure retention. `task` has data that the fine-tune has not seen, labelled or, for a language
    model, plain: `dev` texts pick, `test` texts report. The metric "auto" is the accuracy of a classifier, of
    a linear probe on an encoder, or the perplexity of a language model.

    `graph` is what the filter is made of, `strengths` its gammas (None: those of the graph), `scales` factors of the
    delta (WiSE-FT), `nulls` the same graph on wrong nodes or directions. Where the pick is at an end of the
    strengths, up to `further` are tried beyond it. `strength` writes this one, whatever is picked; `keep`
    the weakest that keeps this share of the base: mean cosine with its embeddings of held-out text, or predicted next
    tokens that are the same. `rest` is what
    becomes of weights that no filter acts on, as in :class:`Refiner`.
    """

    base: str
    tuned: str
    preserve: str
    task: str | None = None
    text_column: str = "text"
    label_column: str = "label"
    metric: str = "auto"
    graph: Graph = "product"
    strengths: tuple[float, ...] | None = None
    scales: tuple[float, ...] = (0.8, 0.6, 0.4)
    nulls: tuple[SweepNull, ...] = ("permuted", "rotated")
    further: int = 3
    strength: float | None = None
    keep: float | None = None
    rest: Rest = "tuned"
    texts: int = 96
    held_out: int | None = None
    dev: int | None = None
    test: int | None = None
    max_length: int = 64
    batch_size: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        if self.metric not in ("auto", *METRICS):
            raise ValueError(f"no metric {self.metric!r}; allowed: {', '.join(('auto', *METRICS))}")
        if self.graph not in get_args(Graph):
            raise ValueError(f"no graph {self.graph!r}; allowed: {', '.join(get_args(Graph))}")
        if self.strength is not None and not (math.isfinite(self.strength) and self.strength > 0):
            raise ValueError(f"--strength is {self.strength:g}: a positive number is needed")
        if self.keep is not None and not 0 < self.keep < 1:
            raise ValueError(f"--keep is {self.keep:g}: a share between 0 and 1 is needed")
        if self.keep is not None and self.strength is not None:
            raise ValueError("--keep finds the strength that --strength gives: one of them")
        if self.rest not in get_args(Rest):
            raise ValueError(f"no rest {self.rest!r}; allowed: {', '.join(get_args(Rest))}")
        if unknown := [name for name in self.nulls if name not in NULLS]:
            raise ValueError(f"no null {unknown[0]!r}; allowed: {', '.join(NULLS)}")
        for name, values in (("strengths", self.gammas), ("scales", self.scales)):
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
            "further": 0,
        }
        for name, least in lowest.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"--{name.replace('_', '-')} is {value}: at least {least} is needed")

    @property
    def gammas(self) -> tuple[float, ...]:
        """The strengths of the filter to begin with, in rising order, with the one that is to be written."""
        given = STRENGTHS[self.graph] if self.strengths is None else self.strengths
        return tuple(sorted({*given, *(() if self.strength is None else (self.strength,))}))

    def quick(self) -> "RefinementOptions":
        """Return the same refinement, with a third of the text and two strengths."""
        return replace(
            self,
            strengths=(0.1, 1.0) if self.graph == "product" else (0.1, 0.3),
            scales=(0.7, 0.4),
            further=1,
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
