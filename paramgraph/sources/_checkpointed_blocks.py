"""Backward passes in the memory of one block: what flows between blocks is kept, and each block runs once more."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def blocks_of(model: nn.Module) -> list[nn.Module]:
    """List the blocks of a model: what the outermost `nn.ModuleList`s with several members of parameters hold."""
    found: list[nn.Module] = []
    waiting = [model]
    while waiting:
        module = waiting.pop()
        members = [part for part in module.children() if any(True for _ in part.parameters())]
        if isinstance(module, nn.ModuleList) and len(members) > 1:
            found += members
        else:
            waiting += reversed(list(module.children()))
    return found


@contextmanager
def checkpointed_blocks(model: nn.Module) -> Iterator[None]:
    """Keep for a backward pass what flows between the blocks of a model alone, for as long as the block runs.

    Each block runs a second time when the backward pass comes to it. Caches of keys and values are off, as they would
    hold those of both runs.
    """
    # Of some blocks it may have been replaced by another already.
    own = [(block, vars(block).get("forward")) for block in blocks_of(model)]
    # Parts of a model may have a description of their own.
    configs = {id(one): one for part in model.modules() if (one := getattr(part, "config", None)) is not None}
    caching = [one for one in configs.values() if getattr(one, "use_cache", False)]
    try:
        for config in caching:
            config.use_cache = False
        for block, _ in own:
            block.forward = _checkpointed(block.forward)
        yield
    finally:
        for block, forward in own:
            vars(block).pop("forward", None)
            if forward is not None:
                block.forward = forward
        for config in caching:
            config.use_cache = True


def _checkpointed(forward: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(forward)
    def run(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)

    return run
