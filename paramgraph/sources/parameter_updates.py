"""Updates between two checkpoints: what fine-tuning has added to the weights of a model."""

from collections.abc import Callable, Iterable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from paramgraph.checkpoints import (
    AdaptedWeights,
    Correspondence,
    ModelLike,
    WeightMapping,
    correspond,
    open_checkpoint,
    wide_weight,
)
from paramgraph.nodes import NodeTable, TableAssembly, one_table
from paramgraph.sources._failures import Failures, OnFailure
from paramgraph.sources._passes import parameters_of


def updates(base: ModelLike, tuned: ModelLike, table: NodeTable) -> Float[Tensor, "nodes width"]:
    r"""Take the difference of two checkpoints as features: :math:`X = \mathrm{gather}(W_{tuned} - W_{base})`.

    For a LoRA adapter the difference is its :math:`s B A` itself, without rounding through the weights.
    Matrices are read and subtracted one at a time: beyond the features, the memory of three matrices, or of three
    stacks of experts, whatever the size of the model.

    Parameters
    ----------
    base : nn.Module, mapping of str to Tensor, str or path
        Weights before: a module (with its active LoRA adapters added in), a mapping, a .safetensors file, a
        folder of one or several of them with their index, or a name on the hub.
    tuned : nn.Module, mapping of str to Tensor, str or path
        Weights after, in the same forms, or the folder of a PEFT LoRA adapter on `base`.
    table : NodeTable
        The nodes. Its parameters may differ from the checkpoints' by what wrappers add to names and by one or
        two leading parts, such as "bert." (`paramgraph.checkpoints.open_checkpoint`).

    Returns
    -------
    Tensor of shape (nodes, width)
        In float32 (float64 for float64 weights), also for half-precision weights; on the base's device.

    Raises
    ------
    KeyError
        If a checkpoint lacks a parameter of the table; it is named, with near names.
    TypeError
        If a checkpoint is none of these, or a weight is quantized.
    ValueError
        If a checkpoint cannot be read, shapes differ, a name fits several parameters, or an update is not
        finite.

    Examples
    --------
    >>> import torch
    >>> from paramgraph import rows
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 2))
    >>> tuned = {"0.weight": model[0].weight.detach() + 1.0}
    >>> updates(model, tuned, rows(model)["0.weight"]).round()
    tensor([[1., 1.],
            [1., 1.]])
    """
    return collect_updates(base, tuned, one_table(table))[table.group]


def collect_updates(
    base: ModelLike,
    tuned: ModelLike,
    tables: Mapping[str, NodeTable],
    on_failure: OnFailure | None = None,
) -> dict[str, Tensor]:
    """Take the updates (nodes, width) of many tables, each parameter read once; raises as `updates` does.

    With `on_failure` (group, reason), a table that cannot be read is left out and told.
    """
    before = open_checkpoint(base)
    after = open_checkpoint(tuned, before)
    failures = Failures(tables, on_failure)
    return assembled(tables, _reading(before, after, parameters_of(tables), failures), failures)


def assembled(
    tables: Mapping[str, NodeTable], read: Callable[[str], Tensor], failures: Failures
) -> dict[str, Tensor]:
    """Gather tables from parameters that are read one at a time, in the order of tables; without those that fail."""
    found: dict[str, Tensor] = {}
    users: dict[str, list[str]] = {}
    for group, table in tables.items():
        for name in table.parameters:
            users.setdefault(name, []).append(group)
    # One for each table, so that what fails is dropped and the others stay whole.
    assemblies = {group: TableAssembly({group: table}, found.__setitem__) for group, table in tables.items()}
    for name, groups in users.items():
        if failures.has_layer(name):
            continue
        with failures.of_layer(name):
            value = read(name)
            for group in groups:
                if group not in failures.reasons:
                    with failures.of_table(group):
                        assemblies[group].add(name, value)
    return {group: found[group] for group in tables if group in found and group not in failures.reasons}


def _reading(
    before: WeightMapping, after: WeightMapping, names: Iterable[str], failures: Failures
) -> Callable[[str], Tensor]:
    """Find every name first, as reading takes the time, and give what reads the update of one."""
    if isinstance(after, AdaptedWeights) and after.base is before:
        for name in names:
            with failures.of_layer(name):
                before.resolve(name)
        return lambda name: _finite(after.update(name), name, before, after)
    found = correspond(before, after)
    partners = {}
    for name in names:
        with failures.of_layer(name):
            partners[name] = found.partner(name)
    return lambda name: _finite(_difference(found, name, partners[name]), name, before, after)


def _difference(found: Correspondence, name: str, partner: str) -> Tensor:
    """Compute after minus before in float32 (float64 for float64 weights), on the device of `before`."""
    before, after = found.base, found.tuned
    old, new = before[name], after[partner]
    if old.shape != new.shape:
        raise ValueError(
            f"{name!r} is {tuple(old.shape)} in {before.source} and {tuple(new.shape)} in {after.source}: "
            "these are not checkpoints of one model"
        )
    # Experts ask for the update of their stack one after the other.
    return before.last_stack.of(
        (name, partner),
        old.ndim,
        lambda: wide_weight(new, name, after).to(old.device) - wide_weight(old, name, before),
        (old, new),
    )


def _finite(difference: Tensor, name: str, before: WeightMapping, after: WeightMapping) -> Tensor:
    if not torch.isfinite(difference).all():
        raise ValueError(f"NaN or infinite update of {name!r} between {before.source} and {after.source}")
    return difference
