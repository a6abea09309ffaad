"""The loss that a Trainer trains, on calibration batches, with the Trainer left as it was found."""

import copy
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

# Not looked into: as long as the training set, and no compute_loss writes there.
_DATA = frozenset({"train_dataset", "eval_dataset"})
# What can be emptied and filled again; subclasses may have rules of their own for that.
_CONTAINERS = frozenset({dict, OrderedDict, defaultdict, Counter, list, deque, set})


class TrainerLoss:
    """Compute what a training step of one batch alone would: the Trainer's `compute_loss`, without dropout.

    So label smoothing, a `compute_loss_func`, and the losses of derived Trainers (preferences, rewards, embeddings) are
    what calibration measures. The batch stays whole, and counters, sums for the log and lists of the Trainer, and modes
    and buffers of its other modules (a reference model, a loss with layers), are put back after each call.
    """

    def __init__(self, trainer: Any) -> None:  # whatever class of Trainer calls its callbacks
        self._trainer = trainer
        self.name = f"{type(trainer).__name__}.compute_loss"

    def __call__(self, model: nn.Module, batch: Any) -> Tensor:
        """Compute the loss of a batch; a ValueError where the Trainer's cannot be had outside its steps."""
        trainer = self._trainer
        try:
            with _untouched(trainer, model):
                # The Trainer's own count of what a loss is divided by, as for a step that has this batch alone.
                (own,), items = trainer.get_batch_samples(
                    iter([copy.deepcopy(batch)]), 1, trainer.args.device
                )
                trainer.current_gradient_accumulation_steps = 1
                own = trainer._prepare_inputs(own)
                with trainer.compute_loss_context_manager():
                    loss: Tensor = trainer.compute_loss(model, own, num_items_in_batch=items)
            return loss
        except torch.OutOfMemoryError:
            raise
        except (AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            raise ValueError(
                f"{self.name}, the loss that this Trainer trains, fails on a calibration batch ({_told(batch)}): "
                f"{type(error).__name__}: {error}; give batches=[...] as its data collator makes them, or another loss "
                "for the calibration, SpectralCallback(..., loss=lambda model, batch: ...)"
            ) from error


def with_trainer_loss(loss: CalibrationLoss, trainer: Any) -> CalibrationLoss:
    """Complete a loss that was given by the Trainer's for the set "task", of which it makes the batches."""
    if loss is None or (isinstance(loss, Mapping) and loss.get("task") is None):
        return {**(loss or {}), "task": TrainerLoss(trainer)}
    return loss


def told_loss(explanation: Explanation, loss: CalibrationLoss) -> Explanation:
    """Add to an explanation whose loss calibration batches are run by, where its configs read any."""
    if not any(config.batches == "task" and needs_batches(config) for config in explanation.configs):
        return explanation
    of_task: object = loss_on(loss, "task")
    name = (
        of_task.name
        if isinstance(of_task, TrainerLoss)
        else "the given loss"
        if of_task
        else "the model's own loss"
    )
    note = f"calibration batches of the set 'task' are run by {name}"
    return replace(explanation, notes=(*explanation.notes, note))


def _told(batch: Any) -> str:
    keys = f" with the keys {sorted(map(str, batch))}" if isinstance(batch, Mapping) else ""
    return f"a {type(batch).__name__}{keys}"


@contextmanager
def _untouched(trainer: Any, model: nn.Module) -> Iterator[None]:
    """Put back after a while the attributes of a Trainer and its state, and all that its containers hold."""
    kept: dict[int, tuple[Any, Any]] = {}
    for owner in (trainer, trainer.state, trainer.control):
        _keep(vars(owner), kept, _DATA)
    values = [value for _, shallow in kept.values() for value in _values(shallow)]
    tensors = {id(value): (value, value.detach().clone()) for value in values if type(value) is Tensor}
    others = {
        id(value): value for value in values if isinstance(value, nn.Module) and unwrap(value) is not model
    }
    try:
        with ExitStack() as modes:
            for other in others.values():
                modes.enter_context(evaluation(other))
            yield
    finally:
        with torch.no_grad():
            for tensor, before in tensors.values():
                if not torch.equal(tensor, before):
                    tensor.copy_(before)
        for place, shallow in kept.values():
            place.clear()
            if isinstance(place, list | deque):
                place.extend(shallow)
            else:
                place.update(shallow)


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
