"""Drawings of parameter graphs, through networkx and matplotlib."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import networkx as nx
import numpy as np
import scipy.sparse as sp
from torch_geometric.data import Data

from paramgraph._checks import is_whole, whole_number
from paramgraph.display import MIDDLE_GREY, PALETTE
from paramgraph.graphs import GraphLike, edge_part, roles_of, strongest_neighbourhood, weight_matrix
from paramgraph.plotting._axes import colour_scale, new_axes
from paramgraph.plotting._node_colours import NodeColours, NodeValues, node_colours
from paramgraph.plotting._node_positions import Layout, node_positions

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable

NEGATIVE = PALETTE[4]
Labels = Literal["index"] | Sequence[str] | Mapping[int, str]


def draw_graph(
    graph: GraphLike,
    ax: "Axes | None" = None,
    *,
    color: str | NodeValues | None = None,
    layout: Layout = "spring",
    labels: Labels | None = None,
    max_nodes: int = 500,
    max_edges: int = 5000,
    around: int | None = None,
    seed: int = 0,
) -> "Axes":
    """Draw a parameter graph.

    The width of an edge is the size of its weight; negative edges are dashed and red. A graph that is too large is
    drawn in part, and the title says which: the `max_nodes` nodes that grow from one along the heaviest edges, and of
    their edges the `max_edges` heaviest.

    Parameters
    ----------
    graph : Data, SciPy sparse array, ndarray, Tensor or networkx.Graph
        Undirected weighted graph, signed or not.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default in a new figure of pyplot.
    color : {"layer", "head", "role"} or str or array of shape (nodes,), optional
        A field of the graph, or one value a node: text and whole numbers are kinds (-1: none), layers an order, other
        numbers a quantity. One colour by default.
    layout : {"spring", "spectral"} or callable, default "spring"
        "spectral": by the first two eigenvectors of the random-walk Laplacian after the constant. "spring": springs,
        begun from there, in O(nodes^2) time for each of 100 rounds. A callable gets a networkx graph of the nodes 0 to
        n - 1 with `weight`, and returns a mapping from node to place, as the layouts of networkx do.
    labels : "index", sequence of str or mapping of int to str, optional
        Names written at the nodes; a mapping names some of them.
    max_nodes, max_edges : int, default 500 and 5,000
        How much is drawn at most.
    around : int, optional
        Node that a part grows from; by default that with the largest sum of absolute weights.
    seed : int, default 0
        Of the layout.

    Returns
    -------
    matplotlib.axes.Axes
        The same drawing for the same arguments.

    Raises
    ------
    ImportError
        If matplotlib is missing; the message has the pip line.
    ValueError
        If the graph has no such field, there is not one value or label a node, the layout is unknown, `around` is no
        node, or another number none that is allowed.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> ax = draw_graph(nx.cycle_graph(8), Figure().subplots(), layout="spectral", max_nodes=5)
    >>> ax.get_title()
    '5 of 8 nodes, along the heaviest edges from node 0'
    """
    whole_number("max_nodes", max_nodes, 1)
    whole_number("max_edges", max_edges, 0)
    whole_number("seed", seed, 0)
    W = edge_part(weight_matrix(graph))
    nodes = W.shape[0]
    if around is not None and not (is_whole(around) and 0 <= around < nodes):
        raise ValueError(f"around is {around!r}; it must be one of the nodes 0 to {nodes - 1}, or None")
    colours = node_colours(_field(graph, color), nodes, color if isinstance(color, str) else "")
    names = _label_texts(labels, nodes)
    ax = new_axes(4.8, 4.0) if ax is None else ax
    notes = []
    chosen = np.arange(nodes)
    if nodes > max_nodes:
        chosen = strongest_neighbourhood(W, max_nodes, around)
        start = around if around is not None else int(np.asarray(abs(W).sum(axis=1)).argmax())
        notes.append(f"{max_nodes:,} of {nodes:,} nodes, along the heaviest edges from node {start}")
    part = W[chosen][:, chosen]
    positions = node_positions(part, layout, seed)
    network = nx.from_scipy_sparse_array(_heaviest(part, max_edges, notes))
    negative = _draw_edges(network, positions, ax)
    _draw_nodes(network, positions, colours, chosen, ax)
    if names:
        shown = {at: names[node] for at, node in enumerate(chosen.tolist()) if node in names}
        _draw_labels(shown, positions, ax)
    _finish(ax, colours, chosen, negative)
    if notes:
        ax.set_title("\n".join(notes), fontsize="small", color=MIDDLE_GREY)
    return ax


def _field(graph: GraphLike, color: str | NodeValues | None) -> NodeValues | None:
    if not isinstance(color, str):
        return color
    value: NodeValues | None = None
    if isinstance(graph, Data):
        value = roles_of(graph) if color == "role" else graph.get(color)
    if value is None:
        fields = sorted(graph.keys()) if isinstance(graph, Data) else "none: it is no PyG Data"
        raise ValueError(f"the graph has no field {color!r} to colour by (its fields: {fields})")
    return value


def _label_texts(labels: Labels | None, nodes: int) -> dict[int, str]:
    if labels is None:
        return {}
    if isinstance(labels, str):
        if labels != "index":
            raise ValueError(f"labels are 'index', one text for each node, or a mapping; got {labels!r}")
        return {node: str(node) for node in range(nodes)}
    texts = dict(labels) if isinstance(labels, Mapping) else dict(enumerate(labels))
    wrong = [node for node in texts if node not in range(nodes)]
    if wrong or (not isinstance(labels, Mapping) and len(texts) != nodes):
        raise ValueError(f"labels need one text for each of the {nodes} nodes, got {len(texts)} {wrong[:3]}")
    return {int(node): str(text) for node, text in texts.items()}


def _heaviest(W: sp.csr_array, most: int, notes: list[str]) -> sp.csr_array:
    upper = sp.triu(W, format="coo")
    if upper.nnz > most:
        keep = np.sort(np.argsort(-np.abs(upper.data), kind="stable")[:most])
        notes.append(f"the {most:,} heaviest of {upper.nnz:,} edges")
        upper = sp.coo_array((upper.data[keep], (upper.row[keep], upper.col[keep])), shape=W.shape)
    return sp.csr_array(upper + upper.T)


def _draw_edges(network: nx.Graph, positions: np.ndarray, ax: "Axes") -> bool:
    """Draw all edges and tell whether any was negative."""
    weights = np.array([weight for *_, weight in network.edges(data="weight")])
    largest = np.abs(weights).max(initial=0.0) or 1.0
    # Of many edges each must be thin and pale for the nodes to be seen.
    crowd = np.clip(12 / np.sqrt(max(len(weights), 1)), 0.22, 1.0)
    for negative, colour, style in ((False, MIDDLE_GREY, "solid"), (True, NEGATIVE, (0, (3, 2)))):
        edges = [(a, b, weight) for a, b, weight in network.edges(data="weight") if (weight < 0) == negative]
        if edges:
            lines = nx.draw_networkx_edges(
                network,
                positions,
                [edge[:2] for edge in edges],
                [(0.25 + 2.25 * abs(edge[2]) / largest) * max(crowd, 0.3) for edge in edges],
                edge_color=colour,
                style=style,
                alpha=max(crowd, 0.3) * 0.8,
                ax=ax,
            )
            lines.set_zorder(1)
    return bool((weights < 0).any())


def _draw_nodes(
    network: nx.Graph, positions: np.ndarray, colours: NodeColours, chosen: np.ndarray, ax: "Axes"
) -> None:
    from matplotlib.colors import to_hex

    style = {"node_size": _node_size(len(chosen)), "edgecolors": MIDDLE_GREY, "linewidths": 0.4, "ax": ax}
    scale = colour_scale()
    if colours.values is not None:
        paints = _colour_bar(colours, ax).to_rgba(colours.values[chosen]) if len(chosen) else np.empty((0, 4))
        drawn = nx.draw_networkx_nodes(network, positions, node_color=paints, **style)
        drawn.set_zorder(2)
        return
    for at, (_, colour, marker) in enumerate(colours.kinds):
        members = np.flatnonzero(colours.kind[chosen] == at).tolist()
        if members:
            paint = to_hex(scale(colour)) if isinstance(colour, float) else colour
            drawn = nx.draw_networkx_nodes(
                network, positions, members, node_color=paint, node_shape=marker, **style
            )
            drawn.set_zorder(2)


def _colour_bar(colours: NodeColours, ax: "Axes") -> "ScalarMappable":
    """Draw the colour bar of all nodes of the graph, and give what maps their values to its colours.

    Before the nodes are drawn, as a bar of one value widens the range.
    """
    from matplotlib import cm, colors

    assert colours.values is not None  # asked for
    norm = colors.Normalize(colours.values.min(), colours.values.max())
    mapping = cm.ScalarMappable(norm, colour_scale())
    bar = ax.figure.colorbar(mapping, ax=ax, shrink=0.6, pad=0.02)
    bar.set_label(colours.title, color=MIDDLE_GREY)
    bar.ax.tick_params(colors=MIDDLE_GREY)
    bar.outline.set_visible(False)
    return mapping


def _node_size(nodes: int) -> float:
    """Area in square points: a crowd of nodes still shows its edges, few are not huge."""
    return float(np.clip(4000 / max(nodes, 1), 12, 160))


def _draw_labels(names: dict[int, str], positions: np.ndarray, ax: "Axes") -> None:
    reach = np.sqrt(_node_size(len(positions))) / 2 + 6
    away = positions - (positions.max(axis=0) + positions.min(axis=0)) / 2 if len(positions) else positions
    for at, text in names.items():
        # Outwards, where there are fewer edges; upwards from the middle.
        far = np.linalg.norm(away[at])
        offset = reach * away[at] / far if far > 1e-9 else (0, reach)
        # parse_math off: a name with two dollar signs is a name, not a formula.
        ax.annotate(
            text,
            positions[at],
            xytext=offset,
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize="x-small",
            color=MIDDLE_GREY,
            parse_math=False,
        )


def _finish(ax: "Axes", colours: NodeColours, chosen: np.ndarray, negative: bool) -> None:
    from matplotlib import lines

    ax.axis("off")
    ax.set_aspect("equal", adjustable="datalim")
    ax.margins(0.08)
    handles = []
    seen = set(colours.kind[chosen].tolist())
    if len(colours.kinds) > 1:
        for at, (label, colour, marker) in enumerate(colours.kinds):
            if at in seen:
                paint = colour_scale()(colour) if isinstance(colour, float) else colour
                handles.append(
                    lines.Line2D(
                        [], [], label=label, color=paint, marker=marker, linestyle="none", markersize=6
                    )
                )
    if negative:
        handles.append(lines.Line2D([], [], color=NEGATIVE, linestyle=(0, (3, 2)), label="negative weight"))
    if handles:
        legend = ax.legend(
            handles=handles,
            title=colours.title or None,
            loc="upper left",
            bbox_to_anchor=(1.0, 1.0),
            frameon=False,
            labelcolor=MIDDLE_GREY,
            fontsize="small",
            title_fontsize="small",
        )
        legend.get_title().set_color(MIDDLE_GREY)
        for text in legend.get_texts():
            text.set_parse_math(False)
