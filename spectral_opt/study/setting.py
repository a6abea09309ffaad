"""One task, number of shots and seed, made real: model, texts, splits; the same for every method."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from spectral_opt.study.plan import Task
from spectral_opt.study.records import Stage
from spectral_opt.tasks import TokenizedBatches

if TYPE_CHECKING:
    from spectral_opt.study.state_measures import StateMeasures

T = TypeVar("T")
Batches = Sequence[Mapping[str, Tensor]]
OnDevice = TypeVar("OnDevice", bound=Batches)


def on_device(batches: OnDevice, device: torch.device) -> OnDevice:
    """Copy batches to a device, with what else their list knows."""
    there: Any = copy.copy(batches)  # a list, or of a class of lists
    for place, batch in enumerate(batches):
        there[place] = {name: value.to(device) for name, value in batch.items()}
    moved: OnDevice = there
    return moved


@dataclass(frozen=True)
class Anatomy:
    """Where the pretrained model is in a start, and how names of a head begin that was made for the task.

    An empty `encoder` is the start itself, an empty `head` none.
    """

    encoder: str = "encoder"
    head: str = "classifier."

    def encoder_of(self, model: nn.Module) -> Any:  # of transformers, or PEFT
        """Give the part that was pretrained."""
        return getattr(model, self.encoder) if self.encoder else model

    def with_encoder(self, model: nn.Module, encoder: nn.Module) -> nn.Module:
        """Put another module in the place of that part, and give the whole."""
        if not self.encoder:
            return encoder
        setattr(model, self.encoder, encoder)
        return model

    def is_head(self, name: str) -> bool:
        """Say whether a parameter is of the head."""
        return bool(self.head) and name.startswith(self.head)


# Of a mean-pooled classifier.
CLASSIFIER = Anatomy()


@dataclass(frozen=True)
class EarlierTask:
    """A task that the start was tuned on before: its head, its texts to score, and its training batches."""

    name: str
    classifier: Any  # nn.Linear, from embeddings to the classes of that task
    scored: TokenizedBatches
    labels: Int[np.ndarray, " texts"]
    training: TokenizedBatches


@dataclass
class StudySetting(ABC):
    """What the cells of a job share; what differs by the kind of a task is abstract here.

    `start` is in evaluation mode with frozen embeddings. `training` has one batch a step, in their order, labels in
    each. `scored` are the texts that a state's score is measured on: those of dev in tuning, of test in other stages.
    `calibration` has "task", other texts of the task with labels, and "preserve". `facts` go into every record: sizes,
    split, what was cut off, and a checksum of each list of texts.
    """

    anatomy: ClassVar[Anatomy]

    task: Task
    shots: int
    seed: int
    stage: Stage
    start: Any  # nn.Module, whose parts a kind knows
    training: Batches
    dev: Batches
    scored: Batches
    calibration: Mapping[str, Batches]
    earlier: EarlierTask | None = field(default=None, kw_only=True)
    facts: Mapping[str, Any] = field(default_factory=dict, kw_only=True)  # Any: plain values of JSON
    _kept: dict[object, Any] = field(default_factory=dict, kw_only=True)

    def place(self, device: torch.device) -> None:
        """Put the start and all batches on a device, once, before anything is made of them."""
        self.start.to(device)
        self.training, self.dev, self.scored = (
            on_device(part, device) for part in (self.training, self.dev, self.scored)
        )
        self.calibration = {name: on_device(part, device) for name, part in self.calibration.items()}
        if self.earlier is not None:
            self.earlier = replace(
                self.earlier,
                classifier=self.earlier.classifier.to(device),
                scored=on_device(self.earlier.scored, device),
                training=on_device(self.earlier.training, device),
            )

    @abstractmethod
    def measures(self) -> "StateMeasures":
        """Make what measures states."""

    @abstractmethod
    def embed(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Float[Tensor, "texts width"]:
        """Represent texts by a model like the start, differentiable."""

    @property
    def read(self) -> tuple[Batches, ...]:
        """All batches that pass the model."""
        return (self.training, self.dev, self.scored, *self.calibration.values())

    @property
    def kept(self) -> int:
        """How many things were made once until now."""
        return len(self._kept)

    def once(self, key: object, make: Callable[[], T]) -> T:
        """Return what `make` gives, made once for all cells of the job: graphs, embeddings of the start."""
        if key not in self._kept:
            self._kept[key] = make()
        value: T = self._kept[key]
        return value
