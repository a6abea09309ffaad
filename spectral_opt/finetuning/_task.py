"""What differs between the tasks that a run can tune: its texts, its examples, its trainer and its scores."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from transformers import PreTrainedTokenizerBase, Trainer, TrainerCallback, TrainingArguments

from paramgraph.digests import text_digest
from spectral_opt.finetuning._parts import Parts
from spectral_opt.finetuning.options import DEFAULTS, FineTuneOptions
from spectral_opt.tasks import Head, LoadedModel, Provenance, column_beside, is_on_hub, usable_length

# Tokens of a text where neither the options nor the model say how many.
USUAL_LENGTH = 512
# Options that name data.
SOURCES = ("data", "evaluate_on", "preserve")


@dataclass(frozen=True)
class Examples:
    """The examples of each part as a trainer takes them; `told` counts what was cut or dropped, by its reason."""

    train: Any  # a list, a data set of token blocks, or one of `datasets`
    evaluation: Any
    test: Any = None
    max_length: int = USUAL_LENGTH
    told: Mapping[str, int] = field(default_factory=dict)
    remarks: Sequence[str] = ()

    @property
    def sizes(self) -> dict[str, int]:
        """The number of examples of each part."""
        parts = {"train": self.train, "evaluation": self.evaluation, "test": self.test}
        return {name: len(part) for name, part in parts.items() if part is not None}


class Texts(Protocol):
    """What a task reads: its own kind of texts, and where they came from."""

    @property
    def provenance(self) -> Provenance:
        """Where they came from."""


T = TypeVar("T", bound=Texts)


class TunedTask(ABC, Generic[T]):
    """One kind of task: made of options, it has read and split the texts; a ValueError says what is wrong with them.

    `head` is what stands on the model, `peft_type` what PEFT calls the task, `needs` further packages, `columns` the
    options that name columns, each with the data that may have it, `usual_length` the tokens of an example where
    nothing says how many. `score` chooses the best state. `origins` say where texts came from, `digest` pins all of
    them, `baseline` is what a score stands beside.
    """

    head: ClassVar[Head]
    peft_type: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()
    columns: ClassVar[Mapping[str, Sequence[str]]] = {}
    usual_length: ClassVar[int] = USUAL_LENGTH
    score: ClassVar[str] = "loss"
    higher_is_better: ClassVar[bool] = False

    label_names: tuple[str, ...] | None = None

    def __init__(self, options: FineTuneOptions) -> None:
        """Read and split the texts; other data that evaluate take the place of their own."""
        data, origin = self._read(options, "data")
        self.parts: Parts = self.split(data, options)
        places = {"train": self.parts.train, "evaluation": self.parts.evaluation, "test": self.parts.test}
        self._parts: dict[str, Any] = {part: self.taken(data, found) for part, found in places.items()}
        self.origins: tuple[Provenance, ...] = (origin,)
        if options.evaluate_on is not None:
            other, origin = self._read(options, "evaluate_on")
            self._parts["evaluation"] = self.taken_elsewhere(other, data, options)
            self.origins += (origin,)
        self.digest = text_digest(*(repr(part) for part in self._parts.items()), repr(self.label_names))

    def _read(self, options: FineTuneOptions, which: str) -> tuple[T, Provenance]:
        """Read one of the data; columns and a subset that the others have alone are left to them."""
        given = {one: name for one in SOURCES if (name := getattr(options, one)) is not None}
        name, notes = given[which], []
        left: dict[str, Any] = {}
        if not is_on_hub(name) and any(is_on_hub(given[one]) for one in given if one != "preserve"):
            left["subset"] = None
        for option, owners in self.columns.items():
            others = [given[one] for one in owners if one != which and one in given]
            if which not in owners:
                left[option] = DEFAULTS[option]
            elif others:
                asked = getattr(options, option)
                chosen = column_beside(name, asked, DEFAULTS[option], others, options.subset)
                if chosen != asked:
                    left[option] = chosen
                    notes.append(f"read by the column {chosen!r}, as it has none named {asked!r}")
        found = self.read(replace(options, **left), name)
        origin = found.provenance
        for note in notes:
            origin = origin.with_note(note)
        return found, origin

    @abstractmethod
    def read(self, options: FineTuneOptions, name: str) -> T:
        """Read texts by their name."""

    @abstractmethod
    def split(self, data: T, options: FineTuneOptions) -> Parts:
        """Find the parts."""

    @abstractmethod
    def taken(self, data: T, places: Sequence[int]) -> Any:  # as `examples` takes a part
        """Take the texts of a part."""

    @abstractmethod
    def taken_elsewhere(self, other: T, data: T, options: FineTuneOptions) -> Any:
        """Take all texts of other data to evaluate on, which must be of the kind of `data`."""

    @abstractmethod
    def examples(self, loaded: LoadedModel, options: FineTuneOptions) -> Examples:
        """Make the examples for a model and its tokenizer."""

    @abstractmethod
    def trainer(
        self,
        model: Any,  # of transformers or PEFT
        arguments: TrainingArguments,
        examples: Examples,
        tokenizer: PreTrainedTokenizerBase,
        callbacks: Sequence[TrainerCallback],
    ) -> Trainer:
        """Make the trainer."""

    @abstractmethod
    def trained_texts(self) -> set[str]:
        """Return the texts that are trained on."""

    def arguments(self, given: Mapping[str, Any], max_length: int) -> TrainingArguments:
        """Make the arguments of the trainer; the tokens of an example are its own affair where it cuts them itself."""
        return TrainingArguments(**given)

    def tested(self, examples: Examples) -> Any:  # as `Examples.test`
        """Give the test examples as `evaluate` of the trainer that was made takes them; None where there are none."""
        return examples.test

    def baseline(self) -> dict[str, Any]:
        """Score what looks at no text, where there is such a thing."""
        return {}


def told_shared(trained: Sequence[str], evaluating: Sequence[str]) -> list[str]:
    """Say how many texts train and evaluate, where there are any."""
    shared = len(set(trained) & set(evaluating))
    return [f"texts that train and evaluate: {shared}"] if shared else []


def length_of(options: FineTuneOptions, loaded: LoadedModel, usual: int) -> tuple[int, list[str]]:
    """Give the tokens of an example: those asked for, or else the usual, as far as the model allows; and say so."""
    length, note = usable_length(loaded.tokenizer, options.max_length or usual)
    # What nobody asked for needs no excuse.
    return length, [note] if note and options.max_length is not None else []
