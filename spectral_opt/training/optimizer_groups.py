"""What the parameter groups of an optimizer say about a step: its direction, and one rate for each table."""

import numbers
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from paramgraph.nodes import NodeTable
from spectral_opt.config import SpectralConfig


def learning_rates(optimizer: Optimizer) -> dict[int, float]:
    """Read the present learning rates of an optimizer.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        Any.

    Returns
    -------
    dict of int to float
        By `id` of the parameter; groups whose "lr" is no number, or that have none, are left out.

    Examples
    --------
    >>> import torch
    >>> layer = torch.nn.Linear(2, 2)
    >>> list(learning_rates(torch.optim.SGD([layer.weight], lr=0.5)).values())
    [0.5]
    """
    # Adafactor keeps lr=None when it chooses the step itself.
    return {
        id(parameter): float(group["lr"])
        for group in optimizer.param_groups
        if isinstance(group.get("lr"), numbers.Real | Tensor)
        for parameter in group["params"]
    }


def rising_parameters(optimizer: Optimizer) -> set[int]:
    """List the parameters along whose gradient the optimizer climbs.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        Any.

    Returns
    -------
    set of int
        `id` of each parameter of a group with `maximize=True`: the gradient of a penalty is subtracted there.

    Examples
    --------
    >>> import torch
    >>> weight = torch.nn.Parameter(torch.ones(2))
    >>> rising_parameters(torch.optim.SGD([weight], lr=0.1, maximize=True)) == {id(weight)}
    True
    """
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
    """Refuse what the groups of an optimizer leave undefined.

    Parameters
    ----------
    configs : sequence of SpectralConfig
        In the order in which they act.
    matched : sequence of dict of str to NodeTable
        Tables of each config.
    named : mapping of str to Tensor
        Parameters by name.
    optimizer : torch.optim.Optimizer
        With its present groups.

    Raises
    ------
    ValueError
        If a penalty of mode "loss" meets `maximize=True`, or the parameters of one table with a penalty differ in
        `maximize` or, where the penalty is decoupled, in their learning rate.

    Examples
    --------
    >>> from torch import nn
    >>> import torch
    >>> model = nn.Sequential(nn.Linear(2, 3))
    >>> check_groups([], [], {}, torch.optim.SGD(model.parameters(), lr=0.1))
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


def _check_same(name: str, what: str, found: Iterable[Any]) -> None:
    values = sorted(set(found))
    if len(values) > 1:
        raise ValueError(
            f"the parameters of table {name!r} have the {what} {values} in their groups; a penalty needs one per "
            "table: use scheme='rows', or put them into one group"
        )
