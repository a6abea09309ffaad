"""What a model is made of, and what graphs of it would cost, from its description and the headers of its files."""

from typing import Any

from torch import nn

from paramgraph.checkpoints import Located, checkpoint_inventory, locate, open_skeleton
from paramgraph.inputs import locate_model
from paramgraph.nodes import Targets, linear_layers, list_schemes, node_tables, storage_key

# Float64 matrices of nodes x nodes at the same time: the dense operator, its eigenvectors, and room to work.
MATRICES = 3


def inspect_model(
    name: str, targets: Targets = "all-linear", exclude: Targets | None = None
) -> dict[str, Any]:
    """Describe a model without loading a weight, in plain values: what `paramgraph inspect --json` prints.

    For each scheme its tables, nodes, widths and the bytes that all modes of its largest graph take; or why there
    are none. Raises ValueError if there is no such model, it has no description, its files are broken, or no layer
    matches.
    """
    where = locate(locate_model(name))
    model: Any = open_skeleton(where)
    layers = linear_layers(model, targets, exclude)
    stored, unread = _stored(where)
    return {
        "model": name,
        "architecture": type(model).__name__,
        "model_type": model.config.model_type,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "layers": len(layers),
        "covered": sum(layer.shape[0] * layer.shape[1] for layer in layers),
        "stored": stored,
        "not_stored": unread,
        "tied": _tied(model),
        "schemes": {scheme: _scheme(model, scheme, targets, exclude) for scheme in list_schemes()},
    }


def _stored(where: Located) -> tuple[dict[str, Any] | None, str]:
    if where.path is None:
        return None, "on the hub, where only the description was fetched"
    try:
        found = checkpoint_inventory(where.path)
    except ValueError as error:
        if where.kind != "file" and not any(where.path.glob("*.safetensors*")):
            return None, str(error)  # a description alone can be looked at as well
        raise
    fields = ("files", "tensors", "entries", "size")
    return {field: getattr(found, field) for field in fields} | {"dtypes": dict(found.dtypes)}, ""


def _tied(model: nn.Module) -> list[list[str]]:
    names: dict[tuple[object, ...], list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(storage_key(parameter), []).append(name)
    return [several for several in names.values() if len(several) > 1]


def _scheme(model: nn.Module, scheme: str, targets: Targets, exclude: Targets | None) -> dict[str, Any]:
    try:
        tables = node_tables(model, scheme, targets, exclude)
    except ValueError as error:
        return {"refused": str(error)}
    nodes = [table.shape[0] for table in tables.values()]
    widths = [table.shape[1] for table in tables.values()]
    return {
        "tables": len(tables),
        "nodes": sum(nodes),
        "smallest": min(nodes),
        "largest": max(nodes),
        "narrowest": min(widths),
        "widest": max(widths),
        "bytes": MATRICES * 8 * max(nodes) ** 2,
        "refused": "",
    }
