"""The order of things inside one step of an optimizer, and what is checked before it."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from spectral_opt.training.basis_step import BasisStep
from spectral_opt.training.bound_table import BoundTable, Energies, Live
from spectral_opt.training.optimizer_groups import (
    GradientScaling,
    learning_rates,
    read_scaling,
    rising_parameters,
)

_ADVICE = (
    "call remove() on this handle, and attach anew once model and optimizer are as they shall be trained"
)


class ParameterWatch:
    """See, before each step, that model and optimizer still hold the parameters that a handle was attached to.

    A parameter that was replaced has no gradient any more, and a filter of it would silently do nothing; one that was
    moved no longer fits the copy of its start.
    """

    def __init__(self, model: nn.Module, tables: Iterable[BoundTable]) -> None:
        tables = list(tables)
        self._stepped = {name: p for table in tables for name, p in table.parameters.items()}
        watched = self._stepped | {name: p for table in tables for name, p in table.touched.items()}
        self._watched = [(name, p, p.device, p.dtype, *_place(model, name)) for name, p in watched.items()]

    def check(self, optimizer: Optimizer) -> None:
        """Raise where a parameter is no longer what it was; nothing is changed. Microseconds per parameter."""
        held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        for name, parameter, device, dtype, owner, attribute in self._watched:
            if parameter.device != device or parameter.dtype != dtype:
                raise ValueError(
                    f"parameter {name!r} was {dtype} on {device} at attach and is {parameter.dtype} on "
                    f"{parameter.device} now; {_ADVICE}"
                )
            # FSDP2 swaps the parameters of a module itself, around each forward pass.
            if type(parameter) is nn.Parameter and owner._parameters.get(attribute) is not parameter:
                raise ValueError(
                    f"parameter {name!r} of the model was replaced after attach, so what this optimizer trains is no "
                    f"part of the model; {_ADVICE}"
                )
            if name in self._stepped and id(parameter) not in held:
                raise ValueError(f"the optimizer no longer holds parameter {name!r}; {_ADVICE}")


class SpectralStep:
    """Act before and after each step of an optimizer, in one fixed order, on tables in the order in which they act.

    Before: penalties of mode "gradient", filters on the gradient, then the rotation into the basis of a graph. After:
    the rotation back, filters on the update, decoupled penalties. A step that a GradScaler has the optimizer skip is
    left alone. `start` is Theta_0 of the tables whose penalty is on the delta.
    """

    def __init__(
        self,
        tables: Iterable[BoundTable],
        start: Mapping[str, Tensor],
        watch: ParameterWatch,
    ) -> None:
        self._watch = watch
        self.tables = list(tables)
        self.start = dict(start)
        self.count = 0
        self.seconds = 0.0
        self.energies: list[Energies] = []
        self._before: dict[str, Tensor] = {}
        self._rotated: list[tuple[BoundTable, BasisStep]] = []
        # Gradients that a step has changed in place, with the version that torch then counted; and those of a step
        # before it that did not come to its end.
        self._changed: dict[int, tuple[Tensor, int]] = {}
        self._unfinished: dict[int, tuple[Tensor, int]] = {}
        self._is_skipped = False

    def penalties(self, *modes: str) -> list[BoundTable]:
        """List the tables that have a penalty, of these modes or of any."""
        return [
            table
            for table in self.tables
            if table.has_penalty and (not modes or table.config.penalty_mode in modes)
        ]

    def live(self, tables: Iterable[BoundTable]) -> Iterator[tuple[BoundTable, Live]]:
        """Give each table the parameters to differentiate by: a stack of experts is unbound once, for all of them.

        The backward pass of an index writes a whole stack of zeros, that of `unbind` one stack for all experts.
        """
        unbound: dict[str, Tensor | Sequence[Tensor]] = {}
        for table in tables:
            if table.prepared.table.expert < 0:
                yield table, table.parameters
                continue
            for name, parameter in table.parameters.items():
                unbound.setdefault(name, parameter.unbind(0))
            yield table, unbound

    def before(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Do what comes before the optimizer's rule; a hook for `register_step_pre_hook`, which replaces a closure."""
        started = time.perf_counter()
        # Of a step that raised unseen, long ago: what is still in a basis leaves it, and other changes stand.
        self._before = {}
        self._unfinished, self._changed = self._changed or self._unfinished, {}
        self.abandon()
        self._watch.check(optimizer)
        scaling = read_scaling(optimizer)
        self._is_skipped = scaling.is_skipped
        if self._is_skipped:
            return None
        # All at once, as the optimizer moves all parameters before the hook after the step runs.
        self._before = {name: p.detach().clone() for name, p in self._updated().items()}
        self.seconds = time.perf_counter() - started
        closure = args[1] if len(args) > 1 else kwargs.get("closure")
        if closure is None:
            self._change(optimizer, scaling)
            return None
        changing = self._with_closure(closure, optimizer, scaling)
        # The gradient does not exist before the closure has run.
        if len(args) > 1:
            return (args[0], changing, *args[2:]), kwargs
        return args, kwargs | {"closure": changing}

    @torch.no_grad()
    def after(self, optimizer: Optimizer) -> bool:
        """Do what comes after the optimizer's rule; False where no step was taken, as a GradScaler had it skipped."""
        if self._is_skipped:
            return False
        started = time.perf_counter()
        # Backwards: tables of one parameter hold each other's gradients.
        for table, step in reversed(self._rotated):
            self.energies.append(table.leave_basis_(step))
        self._rotated = []
        for table in self._filters("update"):
            if table.has_gradient:
                self.energies.append(table.filter_update_(self._before))
        self._before, self._changed = {}, {}
        decoupled = [table for table in self.penalties("decoupled") if table.decays_at(self.count + 1)]
        if decoupled:
            rates = learning_rates(optimizer)
            for table in decoupled:
                if table.has_gradient:
                    table.decay_(self.start, rates)
        self.count += 1
        self.seconds += time.perf_counter() - started
        return True

    @torch.no_grad()
    def abandon(self) -> None:
        """Undo an unfinished step, after an optimizer that raised: parameters are as they were before its rule."""
        for _, step in reversed(self._rotated):
            step.abandon()
        if self._rotated:
            # They were written on in place, and are what they were.
            for known in (self._changed, self._unfinished):
                known.update({key: (gradient, gradient._version) for key, (gradient, _) in known.items()})
        self._rotated = []
        for name, parameter in self._updated().items():
            if name in self._before:
                parameter.copy_(self._before[name])
        self._before = {}

    def _updated(self) -> dict[str, nn.Parameter]:
        """Parameters of filters on the update, each once: experts share theirs."""
        return {name: p for table in self._filters("update") for name, p in table.parameters.items()}

    def _filters(self, placement: Literal["gradient", "update", "basis"]) -> list[BoundTable]:
        return [table for table in self.tables if table.acts_on(placement)]

    def _with_closure(
        self, closure: Callable[[], Any], optimizer: Optimizer, scaling: GradientScaling
    ) -> Callable[[], Any]:
        def closure_and_change() -> Any:
            if self._rotated:
                self.abandon()
                raise ValueError(
                    "this optimizer evaluates its closure more than once in a step, which placement 'basis' does not "
                    "allow: the loss is that of the parameters outside the basis; use placement='update'"
                )
            result = closure()
            self._change(optimizer, scaling)
            return result

        return closure_and_change

    @torch.no_grad()
    def _change(self, optimizer: Optimizer, scaling: GradientScaling) -> None:
        started = time.perf_counter()
        self.energies = []  # of the last evaluation, where a closure has several
        # All of them first: what a gradient is refused for must not leave half of the tables changed.
        live = [table for table in self.tables if table.has_gradient]
        # A step that failed after this may be taken again with the same gradients.
        fresh = [table for table in live if not self._is_changed(table)]
        self._unfinished = {}
        rising = rising_parameters(optimizer)
        for table in fresh:
            if table.has_penalty and table.config.penalty_mode == "gradient":
                climbs = any(id(parameter) in rising for parameter in table.parameters.values())
                table.add_penalty_gradient_(
                    self.start, _descending(scaling.scale) if climbs else scaling.scale
                )
        for table in fresh:
            if table.acts_on("gradient"):
                self.energies.append(table.filter_gradient_())
        for table in fresh:
            for parameter in table.parameters.values():
                if parameter.grad is not None:
                    self._changed[id(parameter)] = parameter.grad, parameter.grad._version
        for table in live:
            if table.acts_on("basis"):
                self._rotated.append((table, table.enter_basis_()))
        self.seconds += time.perf_counter() - started

    def _is_changed(self, table: BoundTable) -> bool:
        for parameter in table.parameters.values():
            gradient, version = self._unfinished.get(id(parameter), (None, 0))
            if gradient is None or parameter.grad is not gradient or gradient._version != version:
                return False
        return True


def _descending(scale: Tensor | None) -> Tensor:
    """Give the scale of a gradient that stands for its negative, as the optimizer goes up it."""
    return torch.tensor(-1.0) if scale is None else -scale


def _place(model: nn.Module, name: str) -> tuple[nn.Module, str]:
    path, _, attribute = name.rpartition(".")
    return model.get_submodule(path), attribute
