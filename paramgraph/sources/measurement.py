"""Passes of batches through a model that leave no trace in it or in any global random state."""

import itertools
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

Result = TypeVar("Result")


@dataclass(frozen=True)
class RandomStates:
    """The states of every global random number generator: PyTorch (CPU and CUDA), NumPy and Python.

    Parameters
    ----------
    torch_cpu : Tensor
        State of PyTorch's generator on the CPU.
    torch_cuda : list of Tensor
        One per CUDA device, none while CUDA is not in use.
    numpy : tuple or dict
        State of NumPy's legacy generator.
    python : tuple
        State of the module `random`.

    Examples
    --------
    >>> import torch
    >>> states = RandomStates.capture()
    >>> first = torch.rand(())
    >>> states.restore()
    >>> bool(torch.rand(()) == first)
    True
    """

    torch_cpu: Tensor
    torch_cuda: Any
    numpy: Any
    python: Any

    @classmethod
    def capture(cls) -> "RandomStates":
        """Copy the present states.

        Returns
        -------
        RandomStates
            A copy that later draws do not change.
        """
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


@contextmanager
def evaluation(model: nn.Module) -> Iterator[None]:
    """Put a model into eval mode for a while; then restore each submodule's training flag and each buffer.

    The flags are set directly, since `train()` and `eval()` are often overridden (frozen batch norm, merged
    adapters). Buffers are copied: O(buffers) of memory.

    Parameters
    ----------
    model : nn.Module
        As it was after the `with` block, also after an exception in it.

    Yields
    ------
    None
        Nothing; the model is in eval mode.
    """
    flags = [(module, module.training) for module in model.modules()]
    homes = [(module, dict(module._buffers)) for module in model.modules() if module._buffers]
    copies = [(buffer, buffer.detach().clone()) for buffer in model.buffers() if not buffer.is_meta]
    try:
        for module, _ in flags:
            module.training = False
        yield
    finally:
        for module, training in flags:
            module.training = training
        for module, kept in homes:
            module._buffers.clear()
            module._buffers.update(kept)
        with torch.no_grad():
            for buffer, copy in copies:
                if not torch.equal(buffer, copy):
                    buffer.copy_(copy)


def passes(
    model: nn.Module, batches: Iterable[Any] | None, step: Callable[[int, Any], Result]
) -> Iterator[Result]:
    """Run a step on every batch, one at a time.

    Between two batches, while the caller holds a result, the model and the random states are as they were
    found: a data loader or a model that draws from a global generator continues its own stream inside.

    Parameters
    ----------
    model : nn.Module
        In eval mode during each step.
    batches : iterable
        Iterated once, one batch in memory at a time.
    step : callable (index, batch) -> result
        What to do with a batch.

    Yields
    ------
    result
        What `step` returned.

    Raises
    ------
    TypeError
        If `batches` is one batch and not an iterable of them.
    ValueError
        If there are no batches.
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
            with evaluation(model):
                results = [step(index, batch) for batch in found]
        finally:
            inside = RandomStates.capture()
            outside.restore()
        if not results and index == 0:
            raise ValueError("batches is empty; an iterator that was used up before gives no second pass")
        if not results:
            return
        yield results[0]
