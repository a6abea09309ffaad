"""Updates between two checkpoints: what fine-tuning has added to the weights of a model."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from paramgraph.checkpoints import AdaptedWeights, ModelLike, WeightMapping, open_checkpoint
from paramgraph.nodes import NodeTable, TableAssembly, one_table
from paramgraph.sources._passes import parameters_of


def updates(base: ModelLike, tuned: ModelLike, table: NodeTable) -> Float[Tensor, "nodes width"]:
    r"""Take the difference of two checkpoints as features: :math:`X = \mathrm{gather}(W_{tuned} - W_{base})`.

    For a LoRA adapter the difference is its :math:`s B A` itself, without rounding through the weights.
    Matrices are read and subtracted one at a time: beyond the features, the memory of three matrices, whatever
    the size of the model.

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


def collect_updates(base: ModelLike, tuned: ModelLike, tables: Mapping[str, NodeTable]) -> dict[str, Tensor]:
    """Take the updates (nodes, width) of many tables, each parameter read once; raises as `updates` does."""
    before = open_checkpoint(base)
    after = open_checkpoint(tuned, before)
    names = parameters_of(tables)
    for name in names:  # every name first: reading takes the time
        before.resolve(name), _partner(before, after, name)
    found: dict[str, Tensor] = {}
    assembly = TableAssembly(tables, found.__setitem__)
    for name in names:
        assembly.add(name, _parameter_update(before, after, name))
    return {group: found[group] for group in tables}


def _parameter_update(before: WeightMapping, after: WeightMapping, name: str) -> Tensor:
    """Compute after minus before in float32 (float64 for float64 weights), on the device of `before`."""
    if isinstance(after, AdaptedWeights) and after.base is before:
        difference = after.update(name)
    else:
        old, new = before[name], after[_partner(before, after, name)]
        if old.shape != new.shape:
            raise ValueError(
                f"{name!r} is {tuple(old.shape)} in {before.source} and {tuple(new.shape)} in {after.source}: "
                "these are not checkpoints of one model"
            )
        difference = _wide(new, name, after).to(old.device) - _wide(old, name, before)
    if not torch.isfinite(difference).all():
        raise ValueError(f"NaN or infinite update of {name!r} between {before.source} and {after.source}")
    return difference


def _partner(before: WeightMapping, after: WeightMapping, name: str) -> str:
    """Find a parameter in the second checkpoint, which may have a tied weight under another of its names."""
    if after.find(name) is None:
        here = before.resolve(name)
        for alias in before.names_of(here):
            if after.find(alias) is not None:
                return after.resolve(alias)
    return after.resolve(name)


def _wide(weight: Tensor, name: str, source: WeightMapping) -> Tensor:
    # One byte per entry is a quantized weight: integers or float8, whose scales lie elsewhere.
    if not weight.is_floating_point() or weight.element_size() < 2:
        raise TypeError(
            f"{name!r} in {source.source} is stored as {weight.dtype}: a quantized weight has no difference; "
            "give dequantized weights"
        )
    return weight.to(torch.promote_types(weight.dtype, torch.float32))
