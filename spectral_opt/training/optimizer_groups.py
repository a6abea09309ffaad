"""What an optimizer says about a step: the direction and the rate of its groups, and the scale of its gradients."""

import numbers
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor
from torch.optim import Optimizer

from paramgraph.nodes import NodeTable
from spectral_opt.config import SpectralConfig


class GradientScaling(NamedTuple):
    """Loss scaling during one step: by what the gradients are multiplied, and whether the step is skipped."""

    scale: Tensor | None
    is_skipped: bool


def read_scaling(optimizer: Optimizer) -> GradientScaling:
    """Read what GradScaler has set on a fused optimizer for the time of its step.

    `torch.amp.GradScaler.step` calls other optimizers with unscaled gradients, or not at all: there is then
    nothing to read. To a fused one it hands the scaled gradients and sets `grad_scale` and `found_inf`. Reading
    `found_inf` waits for the accelerator, as GradScaler does itself with other optimizers.
    """
    attributes: Any = optimizer
    found = getattr(attributes, "found_inf", None)
    return GradientScaling(
        getattr(attributes, "grad_scale", None), found is not None and bool(found.item() != 0)
    )


def learning_rates(optimizer: Optimizer) -> dict[int, float]:
    """Read the present learning rates by `id` of the parameter, of groups whose "lr" is a number."""
    # Adafactor keeps lr=None when it chooses the step itself.
    return {
        id(parameter): float(group["lr"])
        for group in optimizer.param_groups
        if isinstance(group.get("lr"), numbers.Real | Tensor)
        for parameter in group["params"]
    }


def rising_parameters(optimizer: Optimizer) -> set[int]:
    """List, by `id`, the parameters of groups with `maximize=True`: a penalty's gradient is subtracted there."""
    return {
        id(parameter)
        for group in optimizer.param_groups
        if group.get("maximize")
        for parameter in group["params"]
    }


def check_groups(
    configs: Sequence[SpectralConfig],
    matched: Sequence[Mapping[str, NodeTable]],
    named: Mapping[str, Tensor],
    optimizer: Optimizer,
) -> None:
    """Refuse what the groups of an optimizer leave undefined, in the tables that each config matched.

    A ValueError where a penalty of mode "loss" meets `maximize=True`, or the parameters of one table with a penalty
    differ in `maximize` or, where the penalty is decoupled, in their learning rate.
    """
    rising, rates = rising_parameters(optimizer), learning_rates(optimizer)
    for config, tables in zip(configs, matched, strict=True):
        if not config.penalty:
            continue
        for name, table in tables.items():
            members = [id(named[parameter]) for parameter in table.parameters]
            if config.penalty_mode == "loss" and rising.intersection(members):
                raise ValueError(
                    f"the optimizer maximizes (maximize=True) what penalty_mode='loss' would add to, on {name!r}; use "
                    "penalty_mode='gradient', whose sign follows the optimizer, or 'decoupled'"
                )
            if config.penalty_mode == "gradient":
                _check_same(name, "values of maximize", {member in rising for member in members})
            if config.penalty_mode == "decoupled":
                _check_same(name, "learning rates", {rates[member] for member in members if member in rates})


def _check_same(name: str, what: str, found: Iterable[float]) -> None:
    values = sorted(set(found))
    if len(values) > 1:
        raise ValueError(
            f"the parameters of table {name!r} have the {what} {values} in their groups; a penalty needs one per "
            "table: use scheme='rows', or put them into one group"
        )
