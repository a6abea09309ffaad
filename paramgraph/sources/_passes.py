"""Passes of batches through a model: one batch, what is checked of it, and that a pass leaves no trace."""

import inspect
import itertools
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from paramgraph.nodes import NodeTable
from paramgraph.sources._uninitialized import lazy_layers

Result = TypeVar("Result")
# A batch is whatever the model, or the loss, takes.
Batches = Iterable[Any]
Loss = Callable[[nn.Module, Any], Tensor]
Sink = Callable[[str, Tensor], None]


def parameters_of(tables: Mapping[str, NodeTable]) -> list[str]:
    """List the parameters of some tables, each name once."""
    return list(dict.fromkeys(name for table in tables.values() for name in table.parameters))


def run_batch(model: nn.Module, batch: Any) -> Any:
    """Run a model on a mapping of arguments, a tuple or list of them (labels left out), or the one argument."""
    with _told_of_two_parts(model, batch):
        return model(**batch) if isinstance(batch, Mapping) else model(*_by_position(model, batch))


@contextmanager
def _told_of_two_parts(model: nn.Module, batch: Any) -> Iterator[None]:
    """Say what a decoder lacks where a model with an encoder and a decoder fails on texts alone."""
    try:
        yield
    except (ValueError, TypeError, AttributeError) as error:
        inner = getattr(model, "get_base_model", lambda: model)()  # under PEFT
        two = bool(getattr(getattr(inner, "config", None), "is_encoder_decoder", False))
        bare = isinstance(batch, Mapping) and not any("decoder" in key or key == "labels" for key in batch)
        # What is missing is not named by all: some trip over the None.
        told = any(word in str(error) for word in ("input_ids", "inputs_embeds", "NoneType"))
        if isinstance(error, TypeError) and isinstance(batch, Mapping) and not _takes(model, batch):
            raise ValueError(
                f"{type(inner).__name__} does not take a batch with {', '.join(map(str, batch))} ({error}): give "
                "batches as the model takes them"
            ) from error
        if not (two and bare and told):
            raise
        raise ValueError(
            f"{type(inner).__name__} has an encoder and a decoder, and a batch with {', '.join(batch)} gives the "
            "decoder nothing to read: put decoder_input_ids or labels into each batch"
        ) from error


def _takes(model: nn.Module, batch: Mapping[str, Any]) -> bool:
    try:
        inspect.signature(model.forward).bind(**batch)
    except TypeError:
        return False
    return True


def named_batch(model: nn.Module, batch: Any) -> Any:
    """Name the arguments that `run_batch` gives to a model; the batch itself where `forward` has no names for them."""
    if isinstance(batch, Mapping):
        return batch
    named = named_arguments(model, _by_position(model, batch), {})
    return batch if named is None else named


def named_arguments(
    model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Name what a model is called with; None where `forward` has no names for what comes by position."""
    taken = _positional(model) if args else []
    if taken is None or any(one.kind is one.POSITIONAL_ONLY for one in taken[: len(args)]):
        return None
    return {**{one.name: value for one, value in zip(taken, args, strict=False)}, **kwargs}


def _by_position(model: nn.Module, batch: Any) -> Sequence[Any]:
    if not isinstance(batch, tuple | list):
        return [batch]
    taken = _positional(model)
    return batch if taken is None else batch[: len(taken)]  # a loader's (inputs, labels): labels come last


def _positional(model: nn.Module) -> list[inspect.Parameter] | None:
    """List what `forward` takes by position; None for any number."""
    parameters = inspect.signature(model.forward).parameters.values()
    if any(one.kind is one.VAR_POSITIONAL for one in parameters):
        # An adapter of PEFT without a task hands on what it is given.
        inner: Any = getattr(model, "get_base_model", None)
        return None if inner is None else _positional(inner())
    return [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]


def values_of(batch: Any) -> Iterable[Any]:
    """Give what a batch holds, whatever names it."""
    if isinstance(batch, Mapping):
        return batch.values()
    return batch if isinstance(batch, tuple | list) else [batch]


def part_of(output: Any, name: str) -> Any:
    """Read a part of what a model returns, by its name in a mapping (plain or of transformers) or object; else None."""
    return output.get(name) if isinstance(output, Mapping) else getattr(output, name, None)


def batch_loss(model: nn.Module, batch: Any, loss: Loss | None, index: int) -> Tensor:
    """Compute the loss of a batch, `model(**batch).loss` by default; ValueError unless it is one finite number."""
    if loss is not None:
        value: Any = loss(model, batch)
    elif not isinstance(batch, Mapping):
        raise ValueError(
            f"loss=None means model(**batch).loss, but batch {index} is a {type(batch).__name__}; "
            "pass loss=lambda model, batch: ..."
        )
    else:
        with _told_of_two_parts(model, batch):
            outputs = model(**batch)
        value = part_of(outputs, "loss")
        if value is None:
            raise ValueError(
                f"{type(model).__name__} returned no loss for batch {index} with the keys {sorted(batch)}: "
                "put labels into the batch, or pass loss=lambda model, batch: ..."
            )
    if not isinstance(value, Tensor) or value.numel() != 1:
        got = f"the shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)
        raise ValueError(f"the loss must be a tensor with one number, got {got}; return its mean")
    if not torch.isfinite(value).all():
        raise ValueError(f"the loss of batch {index} is {value.item()}; gradients are not defined")
    return value.reshape(())


def check_finite(value: Tensor, what: str, name: str, index: int) -> None:
    """Refuse NaN and infinity, naming where they were measured."""
    if not torch.isfinite(value).all():
        raise ValueError(
            f"NaN or infinite {what} at {name!r} in batch {index}: a diverged model, an overflow in half "
            "precision, or a broken example"
        )


@dataclass(frozen=True)
class RandomStates:
    """The states of every global random number generator: PyTorch (CPU and CUDA), NumPy and Python."""

    torch_cpu: Tensor
    # Opaque to us. A list would be sampled by the suite's checks of types, which draw from `random` themselves.
    torch_cuda: Any  # one state per device, none while CUDA is not in use
    numpy: Any
    python: Any

    @classmethod
    def capture(cls) -> "RandomStates":
        """Copy the present states; later draws do not change the copy."""
        in_use = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
        cuda = torch.cuda.get_rng_state_all() if in_use else []
        # The legacy generator is the global one that users' code draws from.
        return cls(torch.get_rng_state(), cuda, np.random.get_state(), random.getstate())  # noqa: NPY002

    def restore(self) -> None:
        """Put the states back."""
        torch.set_rng_state(self.torch_cpu)
        if self.torch_cuda:
            torch.cuda.set_rng_state_all(self.torch_cuda)
        np.random.set_state(self.numpy)  # noqa: NPY002
        random.setstate(self.python)


_PACKS = "support_avx512bf16_for_cpu"


@contextmanager
def evaluation(model: nn.Module) -> Iterator[None]:
    """Put a model into eval mode for a while; then restore each submodule's training flag and each buffer.

    The flags are set directly, since `train()` and `eval()` are often overridden (frozen batch norm, merged
    adapters). Buffers are copied: O(buffers) of memory.
    """
    flags = [(module, module.training) for module in model.modules()]
    # bitsandbytes packs a 4-bit weight for the CPU anew, and for good, at its first pass in eval mode; products with
    # what is packed have no backward pass, so that a model could not be trained any more.
    packing = [module for module in model.modules() if vars(module).get(_PACKS)]
    homes = [(module, dict(module._buffers)) for module in model.modules() if module._buffers]
    copies = [
        (buffer, buffer.detach().clone())
        for buffer in model.buffers()
        if not (is_lazy(buffer) or buffer.is_meta)
    ]
    # bitsandbytes casts biases in place to the dtype of what comes in.
    biases = [(bias, bias.data) for module, _ in flags if (bias := _bias_beside_bytes(module)) is not None]
    try:
        for module, _ in flags:
            module.training = False
        for module in packing:
            vars(module)[_PACKS] = False
        with lazy_layers(model):
            yield
    finally:
        for module, training in flags:
            module.training = training
        for module in packing:
            vars(module)[_PACKS] = True
        for module, kept in homes:
            module._buffers.clear()
            module._buffers.update(kept)
        for bias, data in biases:
            bias.data = data
        with torch.no_grad():
            for buffer, copy in copies:
                if not torch.equal(buffer, copy):
                    buffer.copy_(copy)


def _bias_beside_bytes(module: nn.Module) -> Tensor | None:
    weight = module._parameters.get("weight")
    # Bytes may be kept as numbers of another kind, with a state beside them.
    is_quantized = weight is not None and (hasattr(weight, "quant_state") or not weight.is_floating_point())
    return module._parameters.get("bias") if is_quantized else None


class ChosenBatches(list[Any]):
    """Some of a list of batches, which errors name by their numbers in the whole list."""

    def __init__(self, batches: Sequence[Any], numbers: Sequence[int]) -> None:
        super().__init__(batches[number] for number in numbers)
        self.numbers = tuple(numbers)


def passes(model: nn.Module, batches: Batches | None, step: Callable[[int, Any], Result]) -> Iterator[Result]:
    """Run a step (index, batch) on every batch in eval mode, one in memory at a time.

    Between two batches, while the caller holds a result, the model and the random states are as they were
    found: a data loader or a model that draws from a global generator continues its own stream inside.
    """
    if batches is None:
        raise ValueError("this source needs batches: pass batches=[...], an iterable of batches")
    if isinstance(batches, Mapping | Tensor | str):
        raise TypeError(f"batches must be an iterable of batches, got one {type(batches).__name__}: [it]?")
    inside, iterator = RandomStates.capture(), None
    for index in itertools.count():
        outside = RandomStates.capture()
        inside.restore()
        try:
            iterator = iter(batches) if iterator is None else iterator
            found = list(itertools.islice(iterator, 1))
            number = batches.numbers[index] if found and isinstance(batches, ChosenBatches) else index
            for batch in found:
                _refuse_empty(number, batch)
            with evaluation(model):
                results = [step(number, batch) for batch in found]
        finally:
            inside = RandomStates.capture()
            outside.restore()
        if not results and index == 0:
            raise ValueError("batches is empty; an iterator that was used up before gives no second pass")
        if not results:
            return
        yield results[0]


def _refuse_empty(index: int, batch: Any) -> None:
    """Refuse a batch of no examples, of which models make errors of their own, and means NaN."""
    rows = [len(value) for value in values_of(batch) if isinstance(value, Tensor) and value.ndim]
    if rows and not any(rows):
        raise ValueError(f"batch {index} is empty: its tensors have no rows; leave it out")
