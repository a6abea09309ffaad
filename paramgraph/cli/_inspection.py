"""What a model is made of, and what graphs of it would cost, from its description and the headers of its files."""

import re
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from operator import mul
from typing import Any

from torch import nn

from paramgraph.checkpoints import (
    Located,
    checkpoint_inventory,
    locate,
    open_skeleton,
)
from paramgraph.inputs import locate_model
from paramgraph.nodes import (
    SCHEMES,
    LinearLayer,
    Targets,
    coverage,
    linear_layers,
    list_schemes,
    matched_layers,
    node_tables,
    storage_key,
)

# Float64 matrices of nodes x nodes at the same time: the dense operator, its eigenvectors, and room to work.
MATRICES = 3


def inspect_model(
    name: str, targets: Targets = "all-linear", exclude: Targets | None = None
) -> dict[str, Any]:
    """Describe a model without loading a weight, in plain values: what `paramgraph inspect --json` prints.

    Of its files also what they lack of the model, which is drawn at random when it is loaded, and what it does not read
    of them. The share of its weights that is in nodes, what is left out by name and why, and its stacks of experts.
    For each scheme its tables, nodes, widths and the bytes that all modes of its largest graph take, and what it leaves
    out; or why there are none. Raises ValueError if there is no such model, it has no description, its files are
    broken, or no layer matches.
    """
    where = locate(locate_model(name))
    model: Any = open_skeleton(where)
    layers = linear_layers(model, targets, exclude)
    share = coverage(model, targets, exclude)
    stored, reason = _stored(where, model)
    return {
        "model": name,
        "architecture": type(model).__name__,
        "model_type": model.config.model_type,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "layers": len(layers),
        "covered": share.covered,
        "coverage": {
            "share": share.share,
            "weights": share.weights,
            "told": str(share),
            "warning": share.warning,
            "reasons": share.reasons(),
        },
        "left_out": dict(share.left_out),
        "experts": _experts(layers),
        "stored": stored,
        "not_stored": reason,
        "tied": [names for names in _named(model) if len(names) > 1],
        "schemes": {scheme: _scheme(model, scheme, targets, exclude) for scheme in list_schemes()},
    }


def _experts(layers: Iterable[LinearLayer]) -> list[dict[str, Any]]:
    """List each stack of experts once: how many of its matrices are targeted, and their shape as stored."""
    stacks: dict[str, dict[str, Any]] = {}
    for layer in layers:
        if layer.experts:
            rows, columns = layer.shape
            stack = {"parameter": layer.parameter, "role": layer.role, "experts": 0, "shape": [rows, columns]}
            stacks.setdefault(layer.parameter, stack)["experts"] += 1
    return list(stacks.values())


def _stored(where: Located, model: nn.Module) -> tuple[dict[str, Any] | None, str]:
    if where.path is None:
        return None, "on the hub, where only the description was fetched"
    try:
        found = checkpoint_inventory(where.path)
    except ValueError as error:
        if where.kind != "file" and not any(where.path.glob("*.safetensors*")):
            return None, str(error)  # a description alone can be looked at as well
        raise
    weights = where.weights()
    names = weights.all_names
    known = set(model.state_dict())
    return {
        **{field: getattr(found, field) for field in ("files", "tensors", "entries", "size")},
        "dtypes": dict(found.dtypes),
        "lacking": [several[0] for several in _named(model) if not any(name in names for name in several)],
        "unread": [name for name in weights if name not in known],
        "quantized": weights.quantized,
    }, ""


def _named(model: nn.Module) -> list[list[str]]:
    """List all names of each weight, tied ones together."""
    names: dict[tuple[object, ...], list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(storage_key(parameter), []).append(name)
    return list(names.values())


def _scheme(model: nn.Module, scheme: str, targets: Targets, exclude: Targets | None) -> dict[str, Any]:
    alike: Mapping[str, int] = {}
    if SCHEMES[scheme].apart:
        # Of a stack with thousands of experts one is cut: the others differ in their names alone.
        targets, exclude, alike = _one_of_each_stack(model, targets, exclude)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", UserWarning)
        try:
            tables = node_tables(model, scheme, targets, exclude)
        except ValueError as error:
            return {"refused": str(error), "left_out": ""}
    times = [alike.get(group, 1) for group in tables]
    nodes = [table.shape[0] for table in tables.values()]
    widths = [table.shape[1] for table in tables.values()]
    return {
        "tables": sum(times),
        "nodes": sum(map(mul, nodes, times)),
        "smallest": min(nodes),
        "largest": max(nodes),
        "narrowest": min(widths),
        "widest": max(widths),
        "bytes": MATRICES * 8 * max(nodes) ** 2,
        "refused": "",
        "left_out": "; ".join(str(warning.message) for warning in told),
    }


def _one_of_each_stack(
    model: nn.Module, targets: Targets, exclude: Targets | None
) -> tuple[Targets, Targets | None, dict[str, int]]:
    """Narrow a rule to one expert of each stack, and count the targeted ones by its group; else leave it as it is."""
    layers = matched_layers(model, targets, exclude)
    first: dict[str, tuple[str, str]] = {}
    for name, layer in layers.items():
        if layer.experts:
            first.setdefault(layer.parameter, (name, layer.group))
    if not first:
        return targets, exclude, {}
    names = [name for name, layer in layers.items() if not layer.experts] + [
        name for name, _ in first.values()
    ]
    count = Counter(layer.parameter for layer in linear_layers(model, targets, exclude))
    return (
        "|".join(map(re.escape, names)),
        None,
        {group: count[parameter] for parameter, (_, group) in first.items()},
    )
