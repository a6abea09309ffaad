"""What a refinement from the command line runs on, and how large it is."""

import math
from dataclasses import dataclass, replace
from pathlib import Path

METRICS = ("auto", "accuracy", "probe", "loss")
# Sizes of evaluation by kind of model: a causal model of 135 million parameters reads 64 tokens in 0.1 s.
SIZES = {"causal": (32, 32, 48), "other": (48, 96, 300)}


@dataclass(frozen=True)
class RefinementOptions:
    """What is refined, with which text, and at which strengths.

    Parameters
    ----------
    base, tuned : str
        Embedded name, local folder or name on the hub; `tuned` also the folder of a LoRA adapter.
    preserve : str
        Text whose pretrained behaviour is protected: a text file, a table, an embedded name or a data set.
    task : str, optional
        Data of the task, which the fine-tune has not seen: labelled, or plain text for a language model.
    text_column, label_column : str
        Columns of files and data sets.
    metric : {"auto", "accuracy", "probe", "loss"}
        How the task is measured. "auto": accuracy of a classifier, of a linear probe on an encoder, token loss of a
        language model.
    strengths : tuple of float
        Gammas of the filter.
    scales : tuple of float
        Factors of the delta, for comparison (WiSE-FT).
    default_strength : float
        Written where nothing picks.
    texts : int
        Preserved texts that build the graphs.
    held_out, dev, test : int, optional
        Further preserved texts on which retention is measured; texts of the task that pick, and that report. None:
        48, 96 and 300; 32, 32 and 48 for a language model.
    max_length, batch_size : int
        Tokens of a text, texts of a batch.
    seed : int
        Of every draw.

    Raises
    ------
    ValueError
        If a number or the metric is not allowed.
    """

    base: str
    tuned: str
    preserve: str
    task: str | None = None
    text_column: str = "text"
    label_column: str = "label"
    metric: str = "auto"
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
        if self.metric not in METRICS:
            raise ValueError(f"no metric {self.metric!r}; allowed: {', '.join(METRICS)}")
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


def same_place(one: str, other: str) -> bool:
    """Say whether two names are one local folder."""
    return Path(one).exists() and Path(other).exists() and Path(one).resolve() == Path(other).resolve()
