"""Models and texts by name: installed packages open them, found by entry points.

This package knows models and batches, and nothing of names of data sets, files of texts or tokenizers. A package
that does gives a module, or an object, with the functions of `InputProvider` under the entry point
"paramgraph.inputs".
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from paramgraph.checkpoints import existing_path
from paramgraph.environment import entry_points
from paramgraph.nodes import Targets

ENTRY_POINT_GROUP = "paramgraph.inputs"
TASKS = ("auto", "language_model", "classification", "none")


@dataclass(frozen=True)
class InputOptions:
    """How texts become batches; a number below its least, or an unknown task, raises a ValueError.

    >>> InputOptions(batches=0)
    Traceback (most recent call last):
    ...
    ValueError: batches is 0: at least 1 is needed
    """

    # What the loss is of: the next token, the label, or nothing, and then there are no gradients. "auto": what the
    # model is made for and the text allows.
    task: str = "auto"
    batches: int = 12
    batch_size: int = 16  # texts in a batch
    max_length: int = 48  # tokens of a text
    seed: int = 0  # of every draw
    text_column: str = "text"
    label_column: str | None = None  # by default "label", where there is one
    tune_steps: int = 0  # of fine-tuning, each on a batch of its own, before anything is compared
    tune_rate: float = 5e-5  # peak learning rate of these

    def __post_init__(self) -> None:
        lowest_values = {"batches": 1, "batch_size": 1, "max_length": 1, "seed": 0, "tune_steps": 0}
        for name, lowest in lowest_values.items():
            if getattr(self, name) < lowest:
                raise ValueError(f"{name} is {getattr(self, name)}: at least {lowest} is needed")
        if not 0 < self.tune_rate < float("inf"):
            raise ValueError(f"tune_rate is {self.tune_rate}: a positive learning rate is needed")
        if self.task not in TASKS:
            raise ValueError(f"no task {self.task!r}; allowed: {', '.join(TASKS)}")


@dataclass(frozen=True)
class ComparisonInputs:
    """A model in memory, in evaluation mode, and batches for it; its layers have the names of its checkpoint."""

    name: str  # for tables
    model: nn.Module
    batches: Sequence[Any]  # whatever the model, or `loss`, takes
    loss: Callable[[nn.Module, Any], Tensor] | None = None  # by default `model(**batch).loss`
    exclude: Targets | None = None  # layers that nothing can be measured of, as in `paramgraph.node_tables`
    notes: Sequence[str] = ()  # what a reader of results must know: origins, splits, the loss
    no_gradients: str = ""  # why there are no gradients; "" where there are
    tuned: nn.Module | None = None  # the model after fine-tuning, where `tune_steps` asked for it


@runtime_checkable
class InputProvider(Protocol):
    """What a package offers under the entry point "paramgraph.inputs"; a module with two functions will do."""

    def folder_of(self, name: str) -> str | Path | None:
        """Find the files of a model as a user named it, without loading it: a folder or file, or a name on the hub.

        None where the name says nothing to this package.
        """

    def open_inputs(self, model: str, data: str, options: InputOptions) -> ComparisonInputs | None:
        """Load a model and make batches of a text, both as a user named them; None where they say nothing to it."""


def locate_model(name: str) -> str | Path:
    """Find where the files of a model are, without loading it: what `paramgraph.compare` takes.

    `name` is a folder or file, a name that an installed package knows, or a name on the hub, which comes back as it is.
    A ValueError comes from a package that knows that there is no such model.
    """
    # A folder is a folder, whatever a package may call by the same name.
    path = existing_path(name)
    if path is not None:
        return path
    for provider in _providers()[0]:
        place = provider.folder_of(name)
        if place is not None:
            return place
    return name


def open_inputs(model: str, data: str, options: InputOptions | None = None) -> ComparisonInputs:
    """Load a model and make batches of a text, by the first installed package that knows both.

    `model` is named as for `locate_model`, `data` is a file or a name. A ValueError says that no package knows them, or
    what mistake one that does has found.
    """
    providers, failures = _providers()
    for provider in providers:
        found = provider.open_inputs(model, data, options or InputOptions())
        if found is not None:
            return found
    broken = f" ({'; '.join(failures)})" if failures else ""
    raise ValueError(
        f"no installed package opens the model {model!r} with the text {data!r}{broken}: install one with the entry "
        f"point {ENTRY_POINT_GROUP!r}, such as spectral_opt, or give a module and batches to paramgraph.compare"
    )


@functools.cache  # reads the metadata of every installed distribution
def _providers() -> tuple[list[InputProvider], list[str]]:
    providers: list[InputProvider] = []
    failures = []
    for entry in entry_points(ENTRY_POINT_GROUP):
        try:
            provider = entry.load()
        except Exception as error:  # a broken package of someone else must not take the others away
            failures.append(f"{entry.value} cannot be imported: {error}")
            continue
        if isinstance(provider, InputProvider):
            providers.append(provider)
        else:
            failures.append(f"{entry.value} has no folder_of or no open_inputs")
    return providers, failures
