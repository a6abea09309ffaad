"""What a fine-tuning run is asked for: one frozen value, checked before any work; from a file, a command line, code."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from paramgraph._checks import is_finite, is_number, known_choice, whole_number
from spectral_opt.config import read_yaml

TuneTask = Literal["classification", "causal-lm", "instruction"]
# Of the options that count something, the smallest number.
LEAST = {
    "max_rows": 2,
    "max_length": 2,
    "max_steps": 1,
    "batch_size": 1,
    "accumulate": 1,
    "evaluate_every": 1,
    "checkpoint_every": 1,
    "patience": 1,
    "preserve_texts": 1,
    "seed": 0,
}
# NumPy's and scikit-learn's seeds have 32 bits.
MOST = {"seed": 2**32 - 1}


@dataclass(frozen=True, kw_only=True)
class FineTuneOptions:
    """What is tuned, on what, and how; a ValueError or TypeError refuses what is not allowed.

    `model` and `data` are embedded names, local places or names on the hub. `task` is "classification", "causal-lm"
    (the next token of plain text) or "instruction" (of answers, by TRL). A part that the data ship as validation
    evaluates, as test is scored once at the end; else `evaluate_on` names other data, or a share of the texts is set
    apart. `max_length` are the tokens of a text, or of a block of "causal-lm", whose blocks run `across` texts or not.

    `peft` is a method of PEFT ("lora", "dora", "ia3", ...), `spectral` a preset of `SpectralConfig` or a file of
    configs, each with options of its own; `preserve` is the text that configs of the set "preserve" are measured on.
    What is None is decided when model and data are known, and stands in the record. `trainer` are further fields of
    transformers' TrainingArguments, or of TRL's SFTConfig.
    """

    model: str
    data: str
    task: TuneTask
    text_column: str = "text"
    label_column: str = "label"
    group_column: str | None = None
    subset: str | None = None
    revision: str | None = None
    max_rows: int | None = None
    evaluate_on: str | None = None
    evaluation_share: float = 0.1
    max_length: int | None = None
    across: bool = False
    peft: str | None = None
    peft_options: Mapping[str, Any] = field(default_factory=dict)  # Any: what PEFT's configs have
    spectral: str | None = None
    spectral_options: Mapping[str, Any] = field(default_factory=dict)
    preserve: str | None = None
    preserve_texts: int = 96
    learning_rate: float | None = None
    max_steps: int | None = None
    epochs: float | None = None
    batch_size: int = 8
    accumulate: int = 1
    evaluate_every: int | None = None
    checkpoint_every: int | None = None
    patience: int | None = None
    bf16: bool = False
    gradient_checkpointing: bool = False
    trust_remote_code: bool = False
    seed: int = 0
    trainer: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known_choice("task", self.task, get_args(TuneTask))
        for item in dataclasses.fields(self):
            self._check_kind(item.name, getattr(self, item.name))
        for name in ("learning_rate", "epochs"):
            value = getattr(self, name)
            if value is not None and not (is_finite(value) and value > 0):
                raise ValueError(f"{name} is {value:g}: a positive number is needed")
        if not 0 < self.evaluation_share < 1:
            raise ValueError(
                f"evaluation_share is {self.evaluation_share:g}: a share between 0 and 1 is needed"
            )
        self._check_pairs()

    def _check_kind(self, name: str, value: object) -> None:
        """Check a field that may come from a file, where anything can stand."""
        default = DEFAULTS.get(name)
        if name in LEAST:
            if value is not None:
                object.__setattr__(self, name, whole_number(name, value, LEAST[name], MOST.get(name)))
        elif name in ("learning_rate", "epochs", "evaluation_share"):
            if value is not None and not is_number(value):
                raise TypeError(f"{name} is {value!r}: a number is needed")
        elif isinstance(default, bool):
            if not isinstance(value, bool):
                raise TypeError(f"{name} is {value!r}: true or false is needed")
        elif name in ("peft_options", "spectral_options", "trainer"):
            if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
                raise TypeError(f"{name} is {value!r}: names with their values are needed")
            try:
                json.dumps(dict(value), allow_nan=False)
            except (TypeError, ValueError) as error:  # the record could not hold it
                raise TypeError(f"{name} is {value!r}: plain values are needed ({error})") from None
            object.__setattr__(self, name, dict(value))
        elif not (isinstance(value, str) and value) and not (value is None and name in DEFAULTS):
            raise TypeError(f"{name} is {value!r}: a name is needed")

    def _check_pairs(self) -> None:
        """Refuse options that would be ignored beside the others."""
        alone = {
            "peft_options": (self.peft_options, self.peft, "peft"),
            "spectral_options": (self.spectral_options, self.spectral, "spectral"),
            "preserve": (self.preserve, self.spectral, "spectral"),
        }
        for name, (value, needed, other) in alone.items():
            if value and needed is None:
                raise ValueError(f"{name} is {value!r}, and without {other} it would be ignored")
        labelled, read = (
            self.task == "classification",
            self.task != "instruction" or self.preserve is not None,
        )
        unread = {
            "label_column": (labelled, f"{self.task} reads no labels"),
            "group_column": (labelled, f"the texts of {self.task} have no groups of yours"),
            "text_column": (read, "conversations have columns of their own"),
            "evaluation_share": (
                self.evaluate_on is None,
                f"{self.evaluate_on} evaluates, and nothing is set apart",
            ),
            "preserve_texts": (self.preserve is not None, "no text is to be preserved"),
        }
        for name, (is_read, reason) in unread.items():
            if not is_read and getattr(self, name) != DEFAULTS[name]:
                raise ValueError(f"{name} is {getattr(self, name)!r}, and would be ignored: {reason}")
        if self.epochs is not None and self.max_steps is not None:
            raise ValueError(
                f"epochs is {self.epochs:g} and max_steps {self.max_steps}: each says when the run ends; leave one out"
            )
        if self.across and self.task != "causal-lm":
            raise ValueError(f"across is for causal-lm: the texts of {self.task} stay apart")
        if self.patience is not None and self.checkpoint_every not in (None, self.evaluate_every):
            raise ValueError(
                f"patience keeps the best state, so each evaluation needs its checkpoint: checkpoint_every is "
                f"{self.checkpoint_every}, evaluate_every {self.evaluate_every}; leave checkpoint_every out"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return all options as plain values, in order."""
        return {
            name: dict(value) if isinstance(value, Mapping) else value for name, value in vars(self).items()
        }


DEFAULTS = {
    item.name: item.default if item.default is not dataclasses.MISSING else {}
    for item in dataclasses.fields(FineTuneOptions)
    if item.default is not dataclasses.MISSING or item.default_factory is not dataclasses.MISSING
}


def read_options(given: Mapping[str, Any], file: str | Path | None = None) -> FineTuneOptions:
    """Make options of those given and, beneath them, those of a YAML file; names with values are put together.

    ValueError or TypeError names a file that cannot be read, an option that does not exist, with the nearest one, or
    one that is missing.
    """
    written: Mapping[str, Any] = {} if file is None else _written(Path(file).expanduser())
    names = [item.name for item in dataclasses.fields(FineTuneOptions)]
    for name in written:
        known_choice(f"an option in {file}", name, names)
    together = {
        name: {**written[name], **value}
        for name, value in given.items()
        if isinstance(value, Mapping) and isinstance(written.get(name), Mapping)
    }
    options = {**written, **given, **together}
    missing = [name for name in names if name not in DEFAULTS and name not in options]
    if missing:
        raise ValueError(
            f"{', '.join(f'--{name}' for name in missing)} must be given, here or with --config FILE"
        )
    return FineTuneOptions(**options)


def read_assignments(name: str, words: list[str]) -> dict[str, Any]:
    """Read "r=8,target_modules=[q_proj,v_proj]", in one word or several, as names and plain values.

    >>> read_assignments("peft-options", ["r=8,target_modules=[q,v]", "bias=none"])
    {'r': 8, 'target_modules': ['q', 'v'], 'bias': 'none'}
    """
    found: dict[str, Any] = {}
    for part in _parts(",".join(words)):
        key, equals, value = part.partition("=")
        if not equals or not key.strip():
            raise ValueError(f"--{name} has {part!r}: NAME=VALUE,... is needed, such as r=8")
        if key.strip() in found:
            raise ValueError(f"--{name} has {key.strip()!r} twice")
        found[key.strip()] = read_yaml(value, f"--{name} {key.strip()}")
    return found


def _parts(text: str) -> list[str]:
    """Cut at the commas that stand in no bracket."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "[{") - (letter in "]}")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part for part in parts if part.strip()]


def _written(file: Path) -> Mapping[str, Any]:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read {file}: {error}") from None
    content = read_yaml(text, str(file))
    if content is None:
        return {}
    if not isinstance(content, Mapping):
        raise ValueError(
            f"{file} holds a {type(content).__name__}: names of options with their values are needed"
        )
    return {str(name).replace("-", "_"): value for name, value in content.items()}
