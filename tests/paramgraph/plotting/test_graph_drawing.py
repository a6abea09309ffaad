import io
import sys

import networkx as nx
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from paramgraph import CosineKNN, ParameterGraph, draw_graph
from paramgraph.display import PALETTE
from paramgraph.plotting import NEGATIVE


def parameter_graph(nodes: int = 24) -> ParameterGraph:
    x = torch.randn(nodes, 5, generator=torch.Generator().manual_seed(0))
    layer = torch.arange(nodes) // 8
    role = [EVIL if node % 2 else "key" for node in range(nodes)]
    return CosineKNN(k=3)(ParameterGraph(x=x, num_nodes=nodes, layer=layer, head=layer - 1, role=role))


EVIL = r"$\frac{1}{$ <b>"


def axes():
    return Figure(layout="constrained").subplots()


def picture(ax) -> bytes:
    buffer = io.BytesIO()
    ax.figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def edges(ax) -> int:
    return sum(len(lines.get_segments()) for lines in ax.collections if hasattr(lines, "get_segments"))


def nodes(ax) -> int:
    return sum(len(c.get_offsets()) for c in ax.collections if not hasattr(c, "get_segments"))


def legend(ax) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_all_of_a_small_graph_is_drawn_and_nothing_is_said():
    graph = parameter_graph()
    ax = draw_graph(graph, axes())
    assert nodes(ax) == 24
    assert edges(ax) == graph.edge_index.shape[1] // 2
    assert ax.get_title() == ""


def test_the_same_graph_gives_the_same_picture():
    assert picture(draw_graph(parameter_graph(), axes())) == picture(draw_graph(parameter_graph(), axes()))


@pytest.mark.parametrize(
    ("color", "names"),
    [("layer", ["0", "1", "2"]), ("head", ["none", "0", "1"]), ("role", [EVIL, "key"])],
    ids=["layer", "head", "role"],
)
def test_fields_of_the_graph_are_colours_with_a_legend(color, names):
    ax = draw_graph(parameter_graph(), axes(), color=color)
    assert legend(ax) == names
    assert ax.get_legend().get_title().get_text() == color
    picture(ax)  # a name with dollar signs is no formula


def test_a_quantity_has_a_colour_bar():
    graph = parameter_graph()
    ax = draw_graph(graph, axes(), color=graph.x.norm(dim=1))
    assert len(ax.figure.axes) == 2
    assert nodes(ax) == 24


@pytest.mark.parametrize(
    "values", [np.linspace(100, 101, 6), np.linspace(-3, -2, 6), np.full(6, 3.0)], ids=str
)
def test_the_colour_bar_is_that_of_the_nodes(values):
    ax = draw_graph(nx.path_graph(6), axes(), color=values, layout="spectral")
    (bar,) = (other for other in ax.figure.axes if other is not ax)
    expected = bar._colorbar.mappable.to_rgba(values)
    np.testing.assert_allclose(ax.collections[-1].get_facecolor(), expected, atol=1e-12)


def test_a_part_of_a_large_graph_says_so():
    ax = draw_graph(nx.cycle_graph(60), axes(), max_nodes=10, around=20)
    assert nodes(ax) == 10
    assert ax.get_title() == "10 of 60 nodes, along the heaviest edges from node 20"


def test_the_heaviest_edges_of_many_are_drawn_and_said():
    weights = np.triu(np.arange(1.0, 401).reshape(20, 20), 1)
    ax = draw_graph(weights + weights.T, axes(), max_edges=15)
    assert edges(ax) == 15
    assert ax.get_title() == "the 15 heaviest of 190 edges"


def test_negative_edges_are_dashed_and_wide_as_their_weights():
    graph = np.array([[0.0, 1.0, -0.5], [1.0, 0.0, 0.0], [-0.5, 0.0, 0.0]])
    ax = draw_graph(graph, axes())
    positive, negative = ax.collections[:2]
    assert negative.get_linestyle()[0][1] is not None
    assert positive.get_linestyle()[0][1] is None
    assert positive.get_linewidth()[0] > negative.get_linewidth()[0]
    assert legend(ax) == ["negative weight"]
    assert ax.get_legend().legend_handles[0].get_color() == NEGATIVE


@pytest.mark.parametrize(
    ("labels", "shown"),
    [("index", ["0", "1", "2"]), (["a", "b", EVIL], ["a", "b", EVIL]), ({2: "hub"}, ["hub"]), (None, [])],
    ids=["index", "all", "some", "none"],
)
def test_labels_are_written_as_they_are(labels, shown):
    ax = draw_graph(nx.path_graph(3), axes(), labels=labels)
    assert [text.get_text() for text in ax.texts] == shown
    picture(ax)


def test_labels_of_a_part_stay_with_their_nodes():
    ax = draw_graph(nx.cycle_graph(60), axes(), max_nodes=3, around=30, labels="index")
    assert [text.get_text() for text in ax.texts] == ["29", "30", "31"]


@pytest.mark.parametrize("name", ["no_nodes", "one_node", "no_edges", "isolated_node", "two_components"])
def test_every_graph_has_a_drawing(graphs, name):
    ax = draw_graph(graphs[name], axes(), layout="spectral")
    assert nodes(ax) == graphs[name].num_nodes
    picture(ax)


def test_graph_is_not_changed():
    graph = parameter_graph()
    before = graph.clone()
    draw_graph(graph, axes(), color="layer", max_nodes=5)
    assert list(graph.keys()) == list(before.keys())
    assert torch.equal(graph.edge_weight, before.edge_weight)


def test_without_axes_a_new_figure_without_a_ground_is_made():
    from matplotlib import pyplot

    ax = draw_graph(nx.path_graph(3))
    assert ax.figure.patch.get_alpha() == 0
    np.testing.assert_allclose(ax.collections[-1].get_facecolor()[0][:3], hex_parts(PALETTE[0]), atol=1e-6)
    pyplot.close(ax.figure)


def hex_parts(colour: str) -> list[float]:
    return [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]


def test_missing_matplotlib_names_the_pip_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install 'paramgraph\[drawing\]'"):
        draw_graph(nx.path_graph(3))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"color": "depth"}, "no field 'depth'"),
        ({"color": [1, 2]}, "each of the 3 nodes"),
        ({"labels": "names"}, "'index'"),
        ({"labels": ["a"]}, "one text for each of the 3 nodes"),
        ({"labels": {7: "x"}}, "one text for each of the 3 nodes"),
        ({"layout": "circle"}, "no layout named 'circle'"),
        ({"max_nodes": 0}, "max_nodes is 0; it must be an int >= 1"),
        ({"max_edges": -2}, "max_edges is -2; it must be an int >= 0"),
        ({"around": 77}, "around is 77; it must be one of the nodes 0 to 2"),
        ({"around": -1}, "around is -1; it must be one of the nodes 0 to 2"),
        ({"seed": -1}, "seed is -1; it must be an int >= 0"),
    ],
    ids=str,
)
@pytest.mark.usefixtures("unchecked_types")
def test_bad_argument_raises(options, match):
    with pytest.raises(ValueError, match=match):
        draw_graph(nx.path_graph(3), axes(), **options)
