"""Schemes: how the matrices of a model are cut into nodes. A scheme is one value in `SCHEMES`."""

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

from torch import nn

from paramgraph.errors import UnknownNameError
from paramgraph.nodes._head_scheme import head_tables
from paramgraph.nodes._matrix_schemes import block_tables, depth_tables, line_tables
from paramgraph.nodes.table import NodeTable
from paramgraph.nodes.targets import Targets, matched_layers
from paramgraph.nodes.wrapping import unwrap


@dataclass(frozen=True)
class Scheme:
    """One way to cut a model into nodes: `cut(model, targeted, **options)` gives its tables by group.

    `targeted` are the layers under their bare names, layers that share a weight included; with `packed`, the
    weights that `nn.MultiheadAttention` keeps outside of layers are among them. `options` are the names that `cut`
    takes. `apart` says that each matrix has a table of its own, which depends on it alone.
    """

    name: str
    cut: Callable[..., dict[str, NodeTable]]
    options: tuple[str, ...] = ()
    packed: bool = False
    apart: bool = False


SCHEMES: dict[str, Scheme] = {
    scheme.name: scheme
    for scheme in (
        Scheme("rows", lambda _, targeted: line_tables(targeted, "rows"), apart=True),
        Scheme("columns", lambda _, targeted: line_tables(targeted, "columns"), apart=True),
        Scheme("blocks", lambda _, targeted, size=None: block_tables(targeted, size), ("size",), apart=True),
        Scheme("heads", head_tables, options=("fused",), packed=True),
        Scheme("layers", lambda _, targeted: depth_tables(targeted)),
    )
}


def node_tables(
    model: nn.Module,
    scheme: str = "rows",
    targets: Targets = "all-linear",
    exclude: Targets | None = None,
    **options: Any,  # whatever the scheme takes: `cut` checks it
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
        Which layers, by PEFT's rule. "all-linear": every `Linear`, `Conv1D` and expert except output embeddings
        and the task's head (a top-level module named classifier, score, lm_head, qa_outputs, head, ...). A
        sequence: modules whose name is an entry or ends with "." and an entry. Any other string: one regular
        expression that the whole module name must match. Experts in one parameter are called by its name, by
        that of its module, or one by one, as "mlp.experts.down_proj[3]". Layers of adapters are never targets;
        the layer that an adapter wraps has the name that it had before, without "base_model.model." and
        ".base_layer".
    exclude : str or sequence of str, optional
        Layers to leave out, in the same forms.
    **options : object
        Options of the scheme: `size` of blocks, `fused` of heads.

    Returns
    -------
    dict of str to NodeTable
        "rows", "columns" and "blocks" have one table per matrix, under the name of its parameter in
        `named_parameters()` of the model (of the bare one where it is inside a wrapper that only runs it), with
        "[3]" behind it for expert 3; "heads" and "layers" have tables over all layers. A weight that several
        layers share appears once, under its first name there. A layer that cannot be cut is in no table, and
        `coverage` says which and why.

    Raises
    ------
    UnknownNameError
        If the scheme is unknown.
    TypeError
        If `targets` or `exclude` is neither a string nor a sequence of strings, or the scheme has no such
        option.
    ValueError
        If an entry of `targets` or `exclude` matches no layer, a listed target only layers that cannot be cut, or
        no layer is left; the message lists near names, or reasons.

    See Also
    --------
    coverage : How much of a model that is, and what is left out.

    Examples
    --------
    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
    >>> node_tables(model, targets=["2"])
    {'2.weight': NodeTable('2.weight', scheme='rows', nodes=3, width=8)}
    """
    if scheme not in SCHEMES:
        raise UnknownNameError.among("scheme", scheme, SCHEMES)
    chosen = SCHEMES[scheme]
    if unknown := [name for name in options if name not in chosen.options]:
        known = ", ".join(chosen.options) or "none"
        raise TypeError(f"the scheme {scheme!r} has no option {', '.join(unknown)}; it has {known}")
    return chosen.cut(unwrap(model), matched_layers(model, targets, exclude, chosen.packed), **options)


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


def rows(
    model: nn.Module, targets: Targets = "all-linear", exclude: Targets | None = None
) -> dict[str, NodeTable]:
    r"""Make each output feature of each linear layer a node: :math:`X = W` of shape (out, in).

    Parameters
    ----------
    model, targets, exclude : as in `node_tables`
        Which layers of what.

    Returns
    -------
    dict of str to NodeTable
        One table per matrix. Conv1D stores the transpose of W; its nodes are the output features all the
        same.

    Examples
    --------
    >>> import torch
    >>> rows(torch.nn.Sequential(torch.nn.Linear(4, 8)))["0.weight"].shape
    (8, 4)
    """
    return node_tables(model, "rows", targets, exclude)


def columns(
    model: nn.Module, targets: Targets = "all-linear", exclude: Targets | None = None
) -> dict[str, NodeTable]:
    r"""Make each input feature of each linear layer a node: :math:`X = W^\top` of shape (in, out).

    Parameters
    ----------
    model, targets, exclude : as in `node_tables`
        Which layers of what.

    Returns
    -------
    dict of str to NodeTable
        One table per matrix.

    Examples
    --------
    >>> import torch
    >>> columns(torch.nn.Sequential(torch.nn.Linear(4, 8)))["0.weight"].shape
    (4, 8)
    """
    return node_tables(model, "columns", targets, exclude)


def blocks(
    model: nn.Module,
    targets: Targets = "all-linear",
    exclude: Targets | None = None,
    size: int | None = None,
) -> dict[str, NodeTable]:
    r"""Make each b x b block of each matrix a node: :math:`x_{ij} = \mathrm{vec}(W_{ib:(i+1)b,\,jb:(j+1)b})`.

    Blocks tile the matrix exactly, as it is stored (Conv1D stores the transpose), and are numbered row by
    row.

    Parameters
    ----------
    model, targets, exclude : as in `node_tables`
        Which layers of what.
    size : int, optional
        The b of all matrices. By default, for each matrix, the largest common divisor of its sides that is at
        most 64 and at most a quarter of the shorter side: 64 for 384 x 1,536, 8 for 32 x 64. Where the sides
        have none but 1, each scalar is a node.

    Returns
    -------
    dict of str to NodeTable
        One table per matrix, of shape (out in / b^2, b^2).

    Raises
    ------
    TypeError
        If `size` is no integer.
    ValueError
        If `size` is below 1 or does not divide both sides of every matrix.

    Examples
    --------
    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 6, bias=False))
    >>> table = blocks(model, size=2)["0.weight"]
    >>> table.shape, table.names[5]
    ((6, 4), '0.weight[4:6, 2:4]')
    """
    return node_tables(model, "blocks", targets, exclude, size=size)


def heads(
    model: nn.Module,
    targets: Targets = "all-linear",
    exclude: Targets | None = None,
    fused: Literal["blocked", "grouped"] | None = None,
) -> dict[str, NodeTable]:
    r"""Make each attention head a node, in one table per kind over all layers.

    A query head is its rows of the query projection and its columns of the output projection; where there
    are as many key and value heads, its rows of those in between: :math:`x_h = [\mathrm{vec}\, Q_h,
    \mathrm{vec}\, K_h, \mathrm{vec}\, V_h, \mathrm{vec}\, O_h^\top]`. Where they are fewer in any layer
    (grouped queries), they are nodes of a table of their own, :math:`[\mathrm{vec}\, K_h, \mathrm{vec}\,
    V_h]`. Biases, norms, gates and relative positions belong to no head. Projections that are not targeted are
    left out of the nodes.

    Parameters
    ----------
    model : nn.Module
        As in `node_tables`. Attention modules are found by the names of their layers, fused and
        `nn.MultiheadAttention` included; the number of heads is theirs, or their config's.
    targets, exclude : str or sequence of str, default "all-linear" and None
        As in `node_tables`.
    fused : {"blocked", "grouped"}, optional
        Layout of a fused projection that this package does not know: "blocked" (all queries, then all keys,
        then all values) or "grouped" (head by head: its queries, its key, its value).

    Returns
    -------
    dict of str to NodeTable
        Under "query", and "key_value" where there are fewer of these. Nodes are in the order of the layers,
        `layer` and `head` are their places, and `role` is the attention module's, as "attention.self" or
        "decoder.layer.1.EncDecAttention". Where heads of one kind differ in shape, nothing is padded: there
        is one table per shape, under the kind and its parts, as "query[query 64+output 64]".

    Raises
    ------
    ValueError
        If no attention module has a targeted layer, or the heads of none can be told apart.

    Warns
    -----
    UserWarning
        If the heads of some attention modules cannot be told apart; it names them.

    References
    ----------
    .. [1] A. Vaswani et al., "Attention is all you need", 2017, section 3.2.2.
    .. [2] J. Ainslie et al., "GQA: Training generalized multi-query transformer models", 2023.

    Examples
    --------
    >>> import torch
    >>> heads(torch.nn.TransformerEncoderLayer(d_model=8, nhead=2))
    {'query': NodeTable('query', scheme='heads', nodes=2, width=128)}
    """
    return node_tables(model, "heads", targets, exclude, fused=fused)


def layers(
    model: nn.Module, targets: Targets = "all-linear", exclude: Targets | None = None
) -> dict[str, NodeTable]:
    r"""Make each whole matrix a node, in one table per role: :math:`x_l = \mathrm{vec}(W_l)`.

    Matrices have one role when their parameters' names are equal but for the number in them that counts layers: the
    first, unless it tells apart parts that have nothing alike, as an encoder and its head. Experts of one parameter
    have one role. A matrix without such a number has a table of its own, of one node.

    Parameters
    ----------
    model, targets, exclude : as in `node_tables`
        Which layers of what.

    Returns
    -------
    dict of str to NodeTable
        Under the parameter's name with ``*`` for the index, as ``"encoder.layer.*.output.dense.weight"``. Where
        the matrices of one role differ in shape, nothing is cut or padded: there is one table per stored
        shape, with the shape behind the name, as ``"*.weight[8x4]"``.

    Examples
    --------
    >>> import torch
    >>> model = torch.nn.Sequential(*[torch.nn.Linear(4, 4) for _ in range(3)])
    >>> layers(model)
    {'*.weight': NodeTable('*.weight', scheme='layers', nodes=3, width=16)}
    """
    return node_tables(model, "layers", targets, exclude)
