"""What a user writes, for type checkers to read: test_types.py runs mypy and pyright on it, and nothing calls it."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, assert_type

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

import paramgraph
import spectral_opt
from paramgraph.graphs import GraphBuilder, count_nodes, undirected_graph, unit_weights
from spectral_opt.tasks import LabelledText, load_labelled_text, load_model

if TYPE_CHECKING:
    from paramgraph import eigenpair as eigenpair  # expect: no such name
    from spectral_opt import attached as attached  # expect: no such name


def loss(model: nn.Module, batch: Tensor) -> Tensor:
    found: Tensor = model(batch).square().mean()
    return found


@dataclass(frozen=True)
class Chain(GraphBuilder):
    """A builder of one's own."""

    reads_features = False

    def forward(self, data: Data) -> Data:
        """Join each node to the next one."""
        weight = unit_weights(data, count_nodes(data) - 1)
        first = torch.arange(len(weight))
        return undirected_graph(data, torch.stack([first, first + 1]), weight)


def use() -> None:
    """Use the packages: never called."""
    model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 2))
    batches = [torch.ones(4, 8)]

    tables = paramgraph.rows(model, targets="all-linear")
    assert_type(tables, dict[str, paramgraph.NodeTable])
    table = tables["0.weight"]
    assert_type(table.shape, tuple[int, int])
    assert_type(paramgraph.weights(model, table), Tensor)
    assert_type(paramgraph.gradients(model, table, batches, loss=loss), Tensor)

    spectrum = paramgraph.eigenpairs(
        paramgraph.laplacian(paramgraph.build(model, table, "cosine_knn", k=5)), k=4
    )
    assert_type(spectrum, paramgraph.Spectrum)
    assert_type(spectrum.eigenvalues, Tensor)
    assert_type(spectrum.certified, bool | None)
    response = paramgraph.heat(2.0) * paramgraph.tikhonov(gamma=0.5)
    filtered = paramgraph.apply_filter(
        paramgraph.laplacian(Data()), torch.ones(3, 1), response, method="chebyshev"
    )
    assert_type(filtered, Tensor)

    found = paramgraph.compare(
        model, ["cosine_knn", paramgraph.Ring(), Chain()], "gradients", batches=batches, loss=loss
    )
    assert_type(found, paramgraph.Comparison)
    assert_type(found.to_html(), str)

    blocks = paramgraph.blocks(model, size=4) | paramgraph.columns(model)
    features = paramgraph.collect(model, blocks, "gradients", batches=batches, loss=loss)
    assert_type(features, dict[str, Tensor])
    graph = paramgraph.connect(
        table, paramgraph.activations(model, table, batches), paramgraph.CosineKNN(k=3)
    )
    assert_type(graph, Data)
    other = paramgraph.connect(table, paramgraph.updates(model, model, table), paramgraph.get_builder("gram"))
    pairs = paramgraph.generalized_eigenpairs(
        paramgraph.adjacency(graph), paramgraph.adjacency(other), ridge=0.1
    )
    assert_type(pairs, paramgraph.Spectrum)
    assert_type(paramgraph.band_energy(pairs, torch.ones(16, 2)), Tensor)
    assert_type(paramgraph.smoothness(paramgraph.laplacian(graph), torch.ones(16, 2)), float)
    assert_type(paramgraph.edge_agreement(graph, other), paramgraph.EdgeAgreement)
    assert_type(paramgraph.ProductGraph(graph, other).penalty(torch.ones(16, 16)), Tensor)
    assert_type(paramgraph.list_builders("*knn*"), list[str])
    assert_type(paramgraph.__version__, str)

    config = spectral_opt.SpectralConfig(builder="cosine_knn", source="weights", targets=["0"], rank=8)
    optimizer = torch.optim.AdamW(model.parameters())
    handle = spectral_opt.attach(model, optimizer, config)
    assert_type(handle, spectral_opt.SpectralHandle)
    assert_type(handle.penalty(), Tensor)
    assert_type(spectral_opt.explain(model, config), spectral_opt.Explanation)
    refined = spectral_opt.refine(Path("base"), "tuned", [config], batches={"preserve": batches})
    assert_type(dict(refined)["0.weight"], Tensor)
    assert_type(load_labelled_text("reviews.csv"), LabelledText)
    assert_type(load_model("all-MiniLM-L6-v2").encoder, nn.Module)

    paramgraph.eigenpairs(paramgraph.laplacian(Data()), k="all", solver="arnoldi")  # expect: two wrong types
    spectral_opt.SpectralConfig(placement="grad")  # expect: a wrong type
    paramgraph.node_tables(model, scheme=3)  # expect: a wrong type
    paramgraph.laplacians(Data())  # expect: no such name
    spectral_opt.tasks.load_models("bbc")  # expect: no such name
