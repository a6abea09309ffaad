"""What a way to fine-tune is, what a filter of a finished fine-tune is, and the lists of both."""

import importlib.util
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any, TypeVar, get_args

import torch
from torch import Tensor, nn

from paramgraph.environment import entry_points
from paramgraph.errors import UnknownNameError
from spectral_opt.config import SpectralConfig
from spectral_opt.preparation import PreparedTable
from spectral_opt.study import after_training, methods
from spectral_opt.study.plan import Value
from spectral_opt.study.records import TaskKind
from spectral_opt.study.setting import CLASSIFIER, Anatomy, StudySetting

T = TypeVar("T")
Options = Mapping[str, Value]


def adamw(parameters: list[nn.Parameter], learning_rate: float, weight_decay: float) -> torch.optim.Optimizer:
    """Make the optimizer of every method that asks for no other."""
    return torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=weight_decay, fused=True)


@dataclass
class Training:
    """A run that is being set up: `Method.prepare` changes what it has to, before the first step.

    `model` is the run's own copy. Each of `extra_losses` is called with the model at every step, and what it
    returns is added to the task's loss. `make_optimizer` gets the parameters to be trained, learning rate and decay.
    `configs` are attached to the optimizer, with tables that are `prepared` for each, or none. `finish` gives the
    module that is measured, of the start's own class and names where the change can be written into its weights (merged
    adapters); `is_mergeable` says that it can.
    """

    model: Any  # of the class of the start, whose parts a method knows: an encoder, a classifier
    setting: StudySetting | None  # None outside of a study
    options: Options
    learning_rate: float
    weight_decay: float
    configs: tuple[SpectralConfig, ...] = ()
    prepared: tuple[tuple[PreparedTable, ...], ...] = ()
    extra_losses: list[Callable[[nn.Module], Tensor]] = field(default_factory=list)
    make_optimizer: Callable[[list[nn.Parameter], float, float], torch.optim.Optimizer] = adamw
    finish: Callable[[Any], Any] = lambda model: model
    is_mergeable: bool = True

    @property
    def encoder(self) -> Any:  # of transformers, or PEFT
        """The part of the model that was pretrained; another module may be put in its place."""
        return self._anatomy.encoder_of(self.model)

    @encoder.setter
    def encoder(self, encoder: nn.Module) -> None:
        self.model = self._anatomy.with_encoder(self.model, encoder)

    @property
    def _anatomy(self) -> Anatomy:
        return CLASSIFIER if self.setting is None else self.setting.anatomy

    def needed_setting(self) -> StudySetting:
        """Give the setting to a method that needs preserved text or other texts of the task; else ValueError."""
        if self.setting is None:
            raise ValueError("this method needs the texts of a study: give fine_tune a setting")
        return self.setting


@dataclass(frozen=True)
class Method:
    """A way to fine-tune: AdamW with `configs` attached to it, none for the plain optimizer.

    `configure` gives the configurations where they depend on the options of a run, `prepare` changes anything else.
    `options` are its own, beside "learning_rate", each with its default; `check` and `configure` raise a ValueError or
    TypeError where a value is not allowed, before anything is run. `null_of` is the method whose control this is;
    `paper` its source; `extra` the distribution that it needs and pip installs, whose module has its name. `kinds` are
    those of the tasks that it can do.
    """

    name: str
    title: str
    description: str
    configs: tuple[SpectralConfig, ...] = ()
    null_of: str | None = None
    paper: str = ""
    options: Options = field(default_factory=dict)
    check: Callable[[Options], object] | None = None
    configure: Callable[[Options], Sequence[SpectralConfig]] | None = None
    prepare: Callable[[Training], None] | None = None
    trains: bool = True  # False: the start itself is the result, as of a linear probe
    extra: str = ""
    kinds: tuple[TaskKind, ...] = get_args(TaskKind)

    def permuted_null(self) -> "Method":
        """Return the control: the same graph, spectrum and strength, with the nodes permuted."""
        return Method(
            name=f"{self.name}_permuted",
            title=f"{self.title}, nodes permuted",
            description=f"The null of {self.title}: the same graph, attached to the wrong nodes.",
            configs=tuple(replace(config, null="permuted") for config in self.configs),
            null_of=self.name,
        )


@dataclass(frozen=True)
class FinishedTune:
    """A finished fine-tune, to be filtered: states under the names of the start, a head included."""

    setting: StudySetting
    base: Mapping[str, Tensor]
    tuned: Mapping[str, Tensor]
    _kept: dict[object, Any] = field(default_factory=dict)  # Any: what `make` gives

    def once(self, key: object, make: Callable[[], T]) -> T:
        """Return what `make` gives, made once for all filters of this fine-tune."""
        if key not in self._kept:
            self._kept[key] = make()
        value: T = self._kept[key]
        return value

    @property
    def kept(self) -> int:
        """How many things were made once until now, of this fine-tune and of its setting."""
        return len(self._kept) + self.setting.kept


@dataclass(frozen=True)
class AfterTraining:
    """A filter of a finished fine-tune, without training.

    `apply` gives a new state with the names of `tuned`; what it does not act on, such as the head, is that of `tuned`.
    `options` has each of its options with its default; `check` refuses values as that of a method, and `kinds` are
    those of the tasks that it can do.
    """

    name: str
    title: str
    description: str
    apply: Callable[[FinishedTune, Options], dict[str, Tensor]]
    options: Options = field(default_factory=dict)
    check: Callable[[Options], object] | None = None
    null_of: str | None = None
    paper: str = ""
    kinds: tuple[TaskKind, ...] = get_args(TaskKind)


def list_methods() -> list[str]:
    """Return the names of the methods, sorted."""
    return sorted(_modules(methods))


def get_method(name: str) -> Method:
    """Return the `METHOD` of the file called `name`; UnknownNameError has near names where there is none.

    >>> get_method("adamw").title
    'AdamW'
    """
    method: Method = _read("method", name, methods).METHOD
    return method


def list_after_training() -> list[str]:
    """Return the names of the filters of finished fine-tunes, sorted."""
    return sorted(_modules(after_training))


def get_after_training(name: str) -> AfterTraining:
    """Return the `AFTER` of the file called `name`; UnknownNameError has near names where there is none."""
    after: AfterTraining = _read("filter of a finished fine-tune", name, after_training).AFTER
    return after


def chosen_options(given: Options, method: Method | AfterTraining) -> dict[str, Any]:
    """Fill the options of a run with defaults; one that the method does not have is an UnknownNameError."""
    known = {"learning_rate", *method.options} if isinstance(method, Method) else set(method.options)
    for name in given:
        if name not in known:
            raise UnknownNameError.among(f"option of {method.name}", name, sorted(known))
    return {**method.options, **given}


def check_values(options: Options, method: Method | AfterTraining) -> None:
    """Refuse values that a method or filter does not allow, as it does when it runs: ValueError or TypeError."""
    if method.check is not None:
        method.check(options)
    if isinstance(method, Method) and method.configure is not None:
        method.configure(options)


def check_installed(method: Method) -> None:
    """Say with what pip installs, before any work, that the library of a method is missing: an ImportError."""
    if method.extra and importlib.util.find_spec(method.extra.replace("-", "_")) is None:
        raise ImportError(
            f"{method.title} needs {method.extra}, which is not installed: pip install {method.extra}"
        )


def _modules(room: ModuleType) -> dict[str, str]:
    """Give the modules of a room by their names: its files, and what installed packages have as its entry points.

    A file goes before an entry point of its name, which cannot take its place.
    """
    return {entry.name: entry.value for entry in entry_points(room.__name__)} | _files(room)


def _files(room: ModuleType) -> dict[str, str]:
    found = [info.name for info in pkgutil.iter_modules(room.__path__) if not info.name.startswith("_")]
    return {name: f"{room.__name__}.{name}" for name in found}


def _read(kind: str, name: str, room: ModuleType) -> Any:  # a module, whose attributes the caller knows
    # The metadata of all packages is read for entry points, 10 ms, and a plan asks for a thousand names of files.
    known = _files(room)
    if name not in known:
        known = _modules(room)
    if name not in known:
        raise UnknownNameError.among(kind, name, sorted(known))
    return importlib.import_module(known[name])
