"""What colours and marks say in a drawing: an order, a quantity, or kinds of nodes."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int64
from torch import Tensor

from paramgraph.display import MIDDLE_GREY, PALETTE

# Eight colours in each of these shapes: no two kinds of nodes look the same.
MARKERS = ("o", "s", "^", "D")
MOST_KINDS = len(PALETTE) * len(MARKERS)
# A scale in words is easier to read than a bar of colours, up to about so many steps.
MOST_STEPS = 12
NOTHING = "none"


@dataclass(frozen=True)
class NodeColours:
    """How each node is drawn.

    Parameters
    ----------
    kinds : tuple of (label, colour, marker)
        Entries of the legend; empty where one colour says nothing.
    kind : int array of shape (nodes,)
        Entry of each node.
    values : float array of shape (nodes,), optional
        A quantity, drawn with a colour bar instead.
    title : str
        What is shown.

    Examples
    --------
    >>> node_colours(["q", "k", "q"], 3, "role").kind
    array([1, 0, 1])
    """

    kinds: tuple[tuple[str, Any, str], ...]
    kind: Int64[np.ndarray, " nodes"]
    values: Float[np.ndarray, " nodes"] | None = None
    title: str = ""


def node_colours(values: Any, nodes: int, title: str = "") -> NodeColours:
    """Choose colours and marks for one value a node.

    Text is a kind; so are whole numbers, of which -1 means none, unless they are layers or more than 32: these are
    an order. Other numbers are a quantity.

    Parameters
    ----------
    values : None, sequence or Tensor of shape (nodes,)
        None gives all nodes one colour.
    nodes : int
        Number of nodes.
    title : str, default ""
        Heading of the legend; "layer" makes whole numbers an order.

    Returns
    -------
    NodeColours
        Colours from a palette for the colour-blind; up to 32 kinds by colour and shape.

    Raises
    ------
    ValueError
        If there is not one value a node, a number is not finite, or text has more than 32 kinds.
    """
    if values is None:
        return NodeColours((("", PALETTE[0], "o"),), np.zeros(nodes, dtype=np.int64), None, title)
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        values = (values.double() if values.is_floating_point() else values).numpy()
    array = np.asarray(values)
    if array.shape != (nodes,):
        raise ValueError(f"a colour is one value for each of the {nodes} nodes, got shape {array.shape}")
    whole = array.dtype.kind in "iub"
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            raise ValueError("values to colour by must be finite")
        return NodeColours((), np.zeros(nodes, dtype=np.int64), array.astype(np.float64), title)
    found, kind = np.unique(array if whole else array.astype(str), return_inverse=True)
    ordered = whole and (title == "layer" or len(found) > MOST_KINDS)
    if ordered and len(found) > MOST_STEPS:
        return NodeColours((), np.zeros(nodes, dtype=np.int64), array.astype(np.float64), title)
    if len(found) > MOST_KINDS:
        raise ValueError(f"{len(found)} kinds cannot be told apart by eye (at most {MOST_KINDS}); group them")
    missing = [whole and value == -1 for value in found]
    return NodeColours(_kinds(found, missing, ordered), kind.astype(np.int64), None, title)


def _kinds(found: Any, missing: list[Any], ordered: bool) -> tuple[tuple[str, Any, str], ...]:
    known = len(found) - sum(map(bool, missing))
    kinds: list[tuple[str, Any, str]] = []
    at = 0
    for value, none in zip(found, missing, strict=True):
        if none:
            kinds.append((NOTHING, MIDDLE_GREY, "o"))
            continue
        colour = at / max(known - 1, 1) if ordered else PALETTE[at % len(PALETTE)]
        marker = "o" if ordered else MARKERS[at // len(PALETTE)]
        kinds.append((str(value), colour, marker))
        at += 1
    return tuple(kinds)
