"""Cards of tables, graphs and spectra: the facts, escaped, whole, and of broken values too."""

import math
from dataclasses import replace
from html.parser import HTMLParser

import networkx as nx
import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from paramgraph import NodeTable, ParameterGraph, adjacency, eigenpairs, laplacian, rows
from paramgraph.display import graph_html, spectrum_html, table_html
from paramgraph.spectra import zero_operator

EVIL = "<script>alert('1')</script>"
VOID = {"path", "rect", "circle"}


class Card(HTMLParser):
    """Read a card as a user sees it: facts by name, the tags, and whether each one is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.facts: dict[str, str] = {}
        self.tags: list[str] = []
        self.open: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.name = self.text = ""
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self.text = ""
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text += data

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag == "th":
            self.name = self.text
        if tag == "td":
            self.facts[self.name] = self.text


def table(names=("a", "b"), role=("q", "q")) -> NodeTable:
    return NodeTable(EVIL, "rows", (), names, (0, 1), (-1, 3), role)


def cards() -> dict[str, str]:
    spectrum = eigenpairs(laplacian(nx.cycle_graph(6)))
    graph = ParameterGraph(
        edge_index=torch.tensor([[0, 1], [1, 0]]), edge_weight=torch.ones(2), num_nodes=3, role=[EVIL] * 3
    )
    return {
        "table": table(names=(EVIL, "b"), role=(EVIL, "q"))._repr_html_(),
        "graph": graph._repr_html_(),
        "spectrum": replace(spectrum, solver=EVIL, reason=EVIL)._repr_html_(),
    }


@pytest.mark.parametrize("what", ["table", "graph", "spectrum"])
def test_card_escapes_every_name(what):
    html = cards()[what]
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert "script" not in Card(html).tags


@pytest.mark.parametrize("what", ["table", "graph", "spectrum"])
def test_card_asks_for_nothing_from_outside_and_is_small(what):
    html = cards()[what]
    names = {name for name, _ in Card(html).attributes}
    assert not names & {"src", "href", "onload", "onclick"}
    assert "url(" not in html
    assert "http" not in html
    assert len(html) < 12_000


@pytest.mark.parametrize("what", ["table", "graph", "spectrum"])
def test_card_leaves_text_and_ground_to_the_theme_of_the_notebook(what):
    html = cards()[what]
    assert "background:#" not in html
    assert ";color:" not in html
    assert "<style" not in html


def test_table_card_names_shape_nodes_layers_and_heads():
    facts = Card(table_html(rows(torch.nn.Sequential(torch.nn.Linear(4, 6)))["0.weight"])).facts
    assert facts["shape"] == "6 nodes x 4 entries each"
    assert facts["nodes"] == "0.weight[0], 0.weight[1], 0.weight[2], 0.weight[3], and 2 more"
    assert facts["layer"] == "0"
    facts = Card(table_html(table())).facts
    assert (facts["layer"], facts["head"], facts["roles"]) == ("0 to 1", "3", "q")


def test_empty_table_has_a_card():
    assert Card(table_html(NodeTable("g", "rows", (), (), (), (), ()))).facts["nodes"] == "none"


def test_graph_card_counts_each_edge_once_and_names_isolated_nodes(graphs):
    facts = Card(graph_html(graphs["isolated_node"])).facts
    assert facts["edges"] == "2"
    assert facts["components"] == "2"
    assert facts["isolated nodes"] == "1"
    assert facts["weights"] == "1 to 1"


@pytest.mark.parametrize("name", ["no_nodes", "one_node", "no_edges", "ring", "weighted_random"])
def test_every_graph_has_a_card(graphs, name):
    graph = graphs[name]
    facts = Card(graph_html(graph)).facts
    assert facts["nodes"] == str(graph.num_nodes)
    assert facts["edges"] == str(graph.edge_index.shape[1] // 2)


def test_graph_card_draws_degrees_only_where_they_differ(graphs):
    assert "svg" in Card(graph_html(graphs["star"])).tags
    assert Card(graph_html(graphs["ring"])).facts["degree"] == "2 each"


def test_nodes_before_a_builder_have_a_card():
    facts = Card(graph_html(Data(x=torch.ones(3, 2, dtype=torch.bfloat16)))).facts
    assert facts == {
        "nodes": "3",
        "edges": "none yet: a builder makes them",
        "features": "3 x 2, bfloat16, cpu",
    }


@pytest.mark.parametrize(
    ("data", "name", "text"),
    [
        (Data(), "nodes", "num_nodes is not set"),
        (
            Data(edge_index=torch.tensor([[0], [7]]), num_nodes=2),
            "edges",
            "broken: they name nodes from 0 to 7",
        ),
        (Data(edge_index=torch.tensor([[0], [1]]), num_nodes=2), "edges", "1 directed entries"),
        (Data(edge_index=torch.tensor([[0, 1], [1, 0]]), num_nodes=2), "weights", "1 each"),
        (
            Data(
                edge_index=torch.tensor([[0, 1], [1, 0]]),
                edge_weight=torch.tensor([math.nan, 2.0]),
                num_nodes=2,
            ),
            "weights",
            "2 to 2 (1 not finite)",
        ),
    ],
    ids=["nothing", "out of range", "directed", "unweighted", "NaN"],
)
def test_broken_graph_has_a_card_that_says_so(data, name, text):
    assert Card(graph_html(data)).facts[name] == text


def test_signed_graph_says_so_and_where_it_comes_from():
    graph = ParameterGraph(
        edge_index=torch.tensor([[0, 1], [1, 0]]),
        edge_weight=torch.tensor([-0.5, -0.5]),
        node_weight=torch.tensor([1.0, 2.0]),
        num_nodes=2,
        signed=True,
        builder="Gram()",
        source="activations",
    )
    card = Card(html := graph_html(graph))
    assert ">signed<" in html
    assert card.facts["weights"] == "-0.5 to -0.5"
    assert card.facts["node_weight"] == "1 to 2"
    assert (card.facts["builder"], card.facts["source"]) == ("Gram()", "activations")


def test_spectrum_card_says_how_why_and_how_well():
    spectrum = eigenpairs(laplacian(nx.complete_graph(4), None))
    facts = Card(spectrum_html(spectrum)).facts
    assert facts["modes"] == "4 of 4 (complete)"
    assert facts["solver"] == spectrum.solver
    assert facts["reason"] == spectrum.reason
    assert facts["gap"] == "4"
    assert facts["certified"] == "not asked"


@pytest.mark.parametrize(
    ("operator", "gap"),
    [
        (adjacency(nx.complete_graph(4)), "4"),
        (adjacency(nx.empty_graph(1)), "needs two modes"),
        (zero_operator(3), "no mode after the zeros"),
        (laplacian(np.zeros((0, 0))), "no mode after the zeros"),
    ],
    ids=["adjacency", "one mode", "no edges", "no nodes"],
)
def test_spectrum_card_has_the_gap_of_its_kind(operator, gap):
    assert Card(spectrum_html(eigenpairs(operator))).facts["gap"] == gap


def test_spectrum_card_draws_a_hundred_dots_of_many():
    card = Card(spectrum_html(eigenpairs(laplacian(nx.cycle_graph(150))).to(dtype=torch.bfloat16)))
    assert card.tags.count("circle") == 100
