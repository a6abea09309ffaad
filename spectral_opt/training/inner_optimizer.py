"""The optimizer that really steps, inside of those that hold it.

Some only pass calls on (accelerate's, Fabric's, Lightning's), others act around its step: Lookahead on the weights
after it, SAM on those at which its gradient is taken. In the step of the one inside the gradient is the one that steps.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

from torch.optim import Optimizer


@runtime_checkable
class OptimizerWrapper(Protocol):
    """What holds the optimizer that steps, as accelerate's does."""

    @property
    def optimizer(self) -> Optimizer:
        """The one inside, which may be a wrapper too."""


def stepping_optimizer(given: Optimizer | OptimizerWrapper) -> tuple[Optimizer, str]:
    """Find the innermost optimizer that holds all parameters, and say what it was found in; "" where in nothing.

    A TypeError for what is no optimizer, a ValueError for what holds several.

    Examples
    --------
    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.ones(2, requires_grad=True)], lr=0.1)
    >>> stepping_optimizer(optimizer)[0] is optimizer
    True
    """
    found: Any = given
    outside: list[Any] = []
    while True:
        outside.append(found)
        inside = {id(one): one for one in _held(found) if all(one is not other for other in outside)}
        if not inside:
            break
        if len(inside) > 1:
            kinds = ", ".join(type(one).__name__ for one in inside.values())
            raise ValueError(
                f"this {type(found).__name__} holds several optimizers ({kinds}), each of which steps: attach to each "
                "of them by its own call"
            )
        (one,) = inside.values()
        if not _parameters(found) <= _parameters(one):
            break  # as ZeroRedundancyOptimizer's, which steps the part of one rank
        found = one
    if not isinstance(found, Optimizer):
        raise TypeError(f"optimizer is a {type(found).__name__}; a torch.optim.Optimizer is needed")
    return found, " in ".join(type(one).__name__ for one in outside[-2::-1])


def _held(optimizer: Any) -> Iterator[Optimizer]:
    """Yield the optimizers among the attributes of one, if they share parameters with it."""
    own = _parameters(optimizer)
    for value in [getattr(optimizer, "optimizer", None), *getattr(optimizer, "__dict__", {}).values()]:
        several = value.values() if isinstance(value, Mapping) else value
        for one in several if isinstance(value, Mapping | list | tuple) else [value]:
            if isinstance(one, Optimizer) and (not own or own & _parameters(one)):
                yield one


def _parameters(optimizer: Any) -> set[int]:
    groups = getattr(optimizer, "param_groups", None)
    if not isinstance(optimizer, Optimizer) or not groups:
        return set()
    return {id(parameter) for group in groups for parameter in group["params"]}
