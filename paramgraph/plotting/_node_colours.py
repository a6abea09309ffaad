"""What colours and marks say in a drawing: an order, a quantity, or kinds of nodes."""

from collections.abc import Sequence
from dataclasses import dataclass

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
Kind = tuple[str, str | float, str]
# One value a node.
NodeValues = Sequence[object] | np.ndarray | Tensor


@dataclass(frozen=True)
class NodeColours:
    """How each node is drawn.

    `kinds` are (label, colour, marker) of the legend's entries, empty where one colour says nothing, with a colour's
    place in the scale where kinds are an order; `kind` is the entry of each node; `values` are a quantity, drawn with a
    colour bar instead; `title` says what is shown.
    """

    kinds: tuple[Kind, ...]
    kind: Int64[np.ndarray, " nodes"]
    values: Float[np.ndarray, " nodes"] | None = None
    title: str = ""


def node_colours(values: NodeValues | None, nodes: int, title: str = "") -> NodeColours:
    """Choose colours and marks for one value a node; None gives all nodes one colour.

    Text is a kind; so are whole numbers, of which -1 means none, unless they are layers (by the `title`) or more than
    32: these are an order. Other numbers are a quantity. Colours are of a palette for the colour-blind; up to 32 kinds
    differ by colour and shape. A ValueError for another number of values, one not finite, or more kinds of text.

    >>> node_colours(["q", "k", "q"], 3, "role").kind
    array([1, 0, 1])
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
    missing = [bool(whole and value == -1) for value in found]
    return NodeColours(_kinds(found, missing, ordered), kind.astype(np.int64), None, title)


def _kinds(found: np.ndarray, missing: list[bool], ordered: bool) -> tuple[Kind, ...]:
    known = len(found) - sum(missing)
    kinds: list[Kind] = []
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
