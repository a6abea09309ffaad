"""The loss that a trainer trains, on calibration batches, with the trainer left as it was found."""

import copy
import inspect
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from paramgraph.nodes import unwrap
from paramgraph.sources import evaluation
from spectral_opt.explanation import Explanation
from spectral_opt.preparation import CalibrationLoss, loss_on, needs_batches

# Not looked into: as long as the training set, and no loss writes there.
_DATA = frozenset({"train_dataset", "eval_dataset"})
# What can be emptied and filled again; subclasses may have rules of their own for that.
_CONTAINERS = frozenset({dict, OrderedDict, defaultdict, Counter, list, deque, set})
# The trainers, modules and batches in this file are of classes that are not ours: Any.


class TrainedLoss:
    """Compute what a training step of one batch alone would, without dropout, and leave no trace of it.

    The batch stays whole. Counters, sums for the log and lists of the trainer, and modes and buffers of its other
    modules (a reference model, a loss with layers), are put back after each call.
    """

    name: str

    def step(self, model: nn.Module, batch: Any) -> Tensor:
        """Compute the loss of a batch of its own."""
        raise NotImplementedError

    def owners(self, model: nn.Module) -> list[Any]:
        """List the objects whose attributes a step may change."""
        raise NotImplementedError

    def __call__(self, model: nn.Module, batch: Any) -> Tensor:
        """Compute the loss of a batch; a ValueError where it cannot be had outside the trainer's steps."""
        try:
            # A compiled step would be traced anew with the hooks that read it.
            with _untouched(self.owners(model), model), torch.compiler.set_stance("force_eager"):
                loss = self.step(model, copy.deepcopy(batch))
                if torch.is_grad_enabled() and isinstance(loss, Tensor) and loss.grad_fn is None:
                    # As losses that cache gradients return, to differentiate the model in a hook of their own.
                    raise ValueError("the loss has no graph to the model's weights")
                return loss
        except torch.OutOfMemoryError:
            raise
        except (AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            keys = f" with the keys {sorted(map(str, batch))}" if isinstance(batch, Mapping) else ""
            raise ValueError(
                f"{self.name}, the loss that is trained here, fails on a calibration batch (a {type(batch).__name__}"
                f"{keys}): {type(error).__name__}: {error}; give batches=[...] as the training loader makes them, or "
                "another loss for the calibration to the callback, loss=lambda model, batch: ..."
            ) from error


class TrainerLoss(TrainedLoss):
    """The `compute_loss` of a Trainer of transformers.

    So label smoothing, a `compute_loss_func`, and the losses of derived Trainers (preferences, rewards, embeddings) are
    what calibration measures.
    """

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer
        self.name = f"{type(trainer).__name__}.compute_loss"

    def owners(self, model: nn.Module) -> list[Any]:
        """List the Trainer and what it tells its callbacks."""
        return [self._trainer, self._trainer.state, self._trainer.control]

    def step(self, model: nn.Module, batch: Any) -> Tensor:
        """Compute the loss of a step that has this batch alone."""
        trainer = self._trainer
        # The Trainer's own count of what a loss is divided by.
        (own,), items = trainer.get_batch_samples(iter([batch]), 1, trainer.args.device)
        trainer.current_gradient_accumulation_steps = 1
        own = trainer._prepare_inputs(own)
        with trainer.compute_loss_context_manager():
            loss: Tensor = trainer.compute_loss(model, own, num_items_in_batch=items)
        return loss


class ModuleLoss(TrainedLoss):
    """The `training_step` of a LightningModule, whose `log` says nothing meanwhile."""

    def __init__(self, trainer: Any, module: Any) -> None:
        self._trainer = trainer
        self.name = f"{type(module).__name__}.training_step"

    def owners(self, model: nn.Module) -> list[Any]:
        """List all modules: metrics keep their sums in attributes that are no buffers."""
        return list(model.modules())

    def step(self, model: nn.Module, batch: Any) -> Tensor:
        """Run `training_step` on a batch, moved, cast and autocast as the trainer does."""
        module: Any = model
        if not module.automatic_optimization:
            raise ValueError("with manual optimization training_step steps itself and returns no loss")
        batch = self._trainer.precision_plugin.convert_input(batch)
        batch = module._on_before_batch_transfer(batch, dataloader_idx=0)
        batch = self._trainer.strategy.batch_to_device(batch, dataloader_idx=0)
        numbered = list(inspect.signature(module.training_step).parameters)[1:2]
        # Plain attributes hide the methods until the module's attributes are put back.
        vars(module).update(dict.fromkeys(("log", "log_dict", "print"), _say_nothing))
        with self._trainer.precision_plugin.train_step_context():
            found = module.training_step(batch, *(0 for _ in numbered))
        loss: Tensor = found["loss"] if isinstance(found, Mapping) else found
        return loss


def _say_nothing(*_: object, **__: object) -> None:
    pass


def complete_loss(loss: CalibrationLoss, trained: TrainedLoss) -> CalibrationLoss:
    """Add the loss that is trained to one that was given, for the set "task", whose batches the trainer makes."""
    if loss is None or (isinstance(loss, Mapping) and loss.get("task") is None):
        return {**(loss or {}), "task": trained}
    return loss


def told_loss(explanation: Explanation, loss: CalibrationLoss) -> Explanation:
    """Add to an explanation whose loss calibration batches are run by, where its configs read any."""
    if not any(config.batches == "task" and needs_batches(config) for config in explanation.configs):
        return explanation
    of_task: object = loss_on(loss, "task")
    name = (
        of_task.name
        if isinstance(of_task, TrainedLoss)
        else "the given loss"
        if of_task
        else "the model's own loss"
    )
    note = f"calibration batches of the set 'task' are run by {name}"
    return replace(explanation, notes=(*explanation.notes, note))


@contextmanager
def _untouched(owners: list[Any], model: nn.Module) -> Iterator[None]:
    """Put back after a while the attributes of some objects, and all that the containers in them hold."""
    kept: dict[int, tuple[Any, Any]] = {}
    for owner in owners:
        _keep(vars(owner), kept, _DATA)
    values = [value for _, shallow in kept.values() for value in _values(shallow)]
    tensors = {id(value): (value, value.detach().clone()) for value in values if type(value) is Tensor}
    inside = {id(module) for module in model.modules()}
    others = {
        id(value): value
        for value in values
        if isinstance(value, nn.Module) and id(unwrap(value)) not in inside
    }
    try:
        with ExitStack() as modes:
            for other in others.values():
                modes.enter_context(evaluation(other))
            yield
    finally:
        for place, shallow in kept.values():
            place.clear()
            if isinstance(place, list | deque):
                place.extend(shallow)
            else:
                place.update(shallow)
        with torch.no_grad():
            for tensor, before in tensors.values():
                if not torch.equal(tensor, before):
                    tensor.copy_(before)


def _keep(place: Any, kept: dict[int, tuple[Any, Any]], left_out: frozenset[str] = frozenset()) -> None:
    """Copy a container and those inside it, each once, each alone."""
    if id(place) in kept:
        return
    kept[id(place)] = place, copy.copy(place)
    for value in _values(place, left_out):
        if type(value) in _CONTAINERS:
            _keep(value, kept)


def _values(place: Any, left_out: frozenset[str] = frozenset()) -> list[Any]:
    return [place[key] for key in place if key not in left_out] if isinstance(place, dict) else list(place)
