"""Schemes: how the matrices of a model are cut into nodes.

A scheme turns the model's linear layers into `NodeTable`s. Adding one is one function and its entry in
`SCHEMES`.
"""

import inspect
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from paramgraph.errors import UnknownNameError
from paramgraph.nodes._head_scheme import heads
from paramgraph.nodes._matrix_schemes import blocks, columns, rows
from paramgraph.nodes.layer_scheme import layers
from paramgraph.nodes.table import NodeTable
from paramgraph.nodes.targets import Targets

__all__ = ["SCHEMES", "blocks", "columns", "heads", "layers", "list_schemes", "node_tables", "rows"]

SCHEMES: dict[str, Callable[..., dict[str, NodeTable]]] = {
    "rows": rows,
    "columns": columns,
    "blocks": blocks,
    "heads": heads,
    "layers": layers,
}


def node_tables(
    model: nn.Module,
    scheme: str = "rows",
    targets: Targets = "all-linear",
    exclude: Targets | None = None,
    **options: Any,
) -> dict[str, NodeTable]:
    """Cut the matrices of a model into nodes.

    Parameters
    ----------
    model : nn.Module
        Any module: a Hugging Face model, your own, or one inside DistributedDataParallel, `torch.compile` or
        PEFT. Its weights are not read: a model on the meta device will do.
    scheme : str, default "rows"
        "rows": a node is an output feature of a layer; "columns": an input feature; "blocks": a square block
        of a matrix; "heads": an attention head; "layers": a whole matrix. Biases belong to no node.
    targets : str or sequence of str, default "all-linear"
        Which layers, by PEFT's rule. "all-linear": every `Linear` and `Conv1D` except output embeddings and
        the task's head (a top-level module named classifier, score, lm_head, qa_outputs, head, ...). A
        sequence: modules whose name is an entry or ends with "." and an entry. Any other string: one regular
        expression that the whole module name must match. Layers of adapters are never targets; the layer that
        an adapter wraps has the name that it had before, without "base_model.model." and ".base_layer".
    exclude : str or sequence of str, optional
        Layers to leave out, in the same forms.
    **options : object
        Options of the scheme: `size` of blocks, `fused` of heads.

    Returns
    -------
    dict of str to NodeTable
        "rows", "columns" and "blocks" have one table per matrix, under the name of its parameter in
        `named_parameters()` of the model (of the bare one where it is inside a wrapper that only runs it);
        "heads" and "layers" have tables over all layers. A weight that several layers share appears once,
        under its first name there.

    Raises
    ------
    UnknownNameError
        If the scheme is unknown.
    TypeError
        If `targets` or `exclude` is neither a string nor a sequence of strings, or the scheme has no such
        option.
    ValueError
        If no layer matches; the message lists near names.

    See Also
    --------
    paramgraph.rows, paramgraph.columns, paramgraph.blocks, paramgraph.heads, paramgraph.layers

    Examples
    --------
    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
    >>> node_tables(model, targets=["2"])
    {'2.weight': NodeTable('2.weight', scheme='rows', nodes=3, width=8)}
    """
    if scheme not in SCHEMES:
        raise UnknownNameError.among("scheme", scheme, SCHEMES)
    known = list(inspect.signature(SCHEMES[scheme]).parameters)[3:]
    unknown = [name for name in options if name not in known]
    if unknown:
        raise TypeError(
            f"the scheme {scheme!r} has no option {', '.join(unknown)}; it has {', '.join(known) or 'none'}"
        )
    return SCHEMES[scheme](model, targets, exclude, **options)


def list_schemes(pattern: str = "*") -> list[str]:
    """List the names of schemes.

    Parameters
    ----------
    pattern : str, default "*"
        Shell pattern, matched with attention to case.

    Returns
    -------
    list of str
        In alphabetical order.

    Examples
    --------
    >>> list_schemes()
    ['blocks', 'columns', 'heads', 'layers', 'rows']
    """
    return sorted(name for name in SCHEMES if fnmatchcase(name, pattern))
