"""Lazy layers, whose weights are made when they first run: made for one pass, and forgotten with it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.parameter import is_lazy

SEED = 0


@contextmanager
def lazy_layers(model: nn.Module) -> Iterator[None]:
    """Let lazy layers run on weights of their own making, the same in every pass, and have none again afterwards.

    What flows through them is that of a model at its start, as any layer's that was never trained.
    """
    kept = []
    for module in model.modules():
        if isinstance(module, LazyModuleMixin) and module.has_uninitialized_params():
            # What is made is made in place: stand-ins take it, and dictionaries that lose entries are kept.
            state = {
                name: dict(value) if isinstance(value, dict) else value
                for name, value in vars(module).items()
            }
            kept.append((module, type(module), state))
            for held in (module._parameters, module._buffers):
                held.update(
                    {
                        name: _like(value)
                        for name, value in held.items()
                        if value is not None and is_lazy(value)
                    }
                )
            before, after = _seeded()
            module.register_forward_pre_hook(before, prepend=True)
            module.register_forward_pre_hook(after)
    try:
        yield
    finally:
        for module, kind, state in kept:
            module.__class__ = kind
            for name in vars(module).keys() - state.keys():
                del module.__dict__[name]
            for name, value in state.items():
                present = module.__dict__.get(name)
                if isinstance(value, dict) and isinstance(present, dict):
                    present.clear()
                    present.update(value)
                else:
                    module.__dict__[name] = value


def _like(value: Any) -> Any:
    # A parameter or a buffer without memory; torch's stubs do not know their constructors.
    return type(value)(requires_grad=value.requires_grad, device=value.device, dtype=value.dtype)


def _seeded() -> tuple[Callable[[nn.Module, Any], None], Callable[[nn.Module, Any], None]]:
    """Make hooks around the making of weights: seed before, and put the generator back after."""
    state = [torch.get_rng_state()]

    def before(module: nn.Module, args: Any) -> None:
        state[0] = torch.get_rng_state()
        torch.manual_seed(SEED)

    def after(module: nn.Module, args: Any) -> None:
        torch.set_rng_state(state[0])

    return before, after
