"""Comparisons of whole models: `compare` beside a loop over scikit-learn and SciPy, and two workers beside one."""

import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg
import scipy.sparse.linalg as spla
import torch
from scipy.sparse.csgraph import laplacian as scipy_laplacian
from sklearn.neighbors import kneighbors_graph
from torch import Tensor
from torch_geometric.data import Data

import paramgraph
from paramgraph import Comparison, graph_to_scipy
from paramgraph.checkpoints import open_checkpoint, open_skeleton
from paramgraph.comparison import split_batches
from paramgraph.inputs import ComparisonInputs, InputOptions, locate_model, open_inputs

from benchmarks.contest import Contest, Profile

K, MODES = 10, 32
THINNED = 3  # every third layer, or every thirtieth for a brief look: the others are of the same shapes
TWO_WORKERS = 1 / 1.7


def contests(profile: Profile) -> Iterator[Contest]:
    """Compare the weights of a language model, then five constructions of an encoder's gradients."""
    if profile == "smallest":
        with tempfile.TemporaryDirectory() as folder:
            _save_tiny(Path(folder))
            yield weights_of(Path(folder), "a tiny model", list(paramgraph.rows(open_skeleton(folder))), 4)
        return
    folder = Path(locate_model("SmolLM2-135M-Instruct"))
    layers = list(paramgraph.rows(open_skeleton(folder)))[:: THINNED if profile == "full" else 10 * THINNED]
    yield weights_of(folder, "SmolLM2-135M", layers, MODES)
    if profile == "full":
        yield workers_of_weights(folder, layers)
        yield five_constructions()


def _save_tiny(folder: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = {"vocab_size": 40, "hidden_size": 32, "intermediate_size": 48}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        LlamaForCausalLM(LlamaConfig(**shape, num_hidden_layers=1, num_attention_heads=2)).save_pretrained(
            folder
        )


class Found(NamedTuple):
    """Eigenvalues and numbers of edges, by layer."""

    eigenvalues: dict[str, np.ndarray]
    edges: dict[str, int]


def by_compare(folder: Path, layers: list[str], modes: int, workers: int | None = None) -> Comparison:
    """Stream the checkpoint: graph, eigenpairs, and what is always measured of them; no nulls."""
    return paramgraph.compare(
        folder,
        ["cosine_knn"],
        "weights",
        nulls=(),
        permutations=0,
        modes=modes,
        layers=layers,
        workers=workers,
    )


def by_functions(folder: Path, layers: list[str], modes: int) -> Found:
    """Make the same graphs and pairs by the functions of this package, and measure nothing."""
    checkpoint, found = open_checkpoint(folder), Found({}, {})
    for layer in layers:
        x = checkpoint[layer]
        graph = paramgraph.CosineKNN(k=K)(Data(x=x, num_nodes=len(x)))
        spectrum = paramgraph.eigenpairs(paramgraph.laplacian(graph), k=modes)
        found.eigenvalues[layer] = spectrum.eigenvalues.numpy()
        found.edges[layer] = graph.edge_index.shape[1] // 2
    return found


def by_peers(folder: Path, layers: list[str], modes: int) -> Found:
    """Make them by scikit-learn in float32 and by SciPy in float64, ARPACK's defaults: no shift, tol 0."""
    checkpoint, found = open_checkpoint(folder), Found({}, {})
    for layer in layers:
        graph = kneighbors_graph(checkpoint[layer].float().numpy(), K, mode="distance", metric="cosine")
        graph.data = 1.0 - graph.data.astype(np.float64)
        graph = graph.maximum(graph.T)  # either end's neighbour, negative cosines out
        matrix = scipy_laplacian(graph, normed=True)
        found.eigenvalues[layer] = np.sort(spla.eigsh(matrix, k=modes, which="SM")[0])
        found.edges[layer] = graph.nnz // 2
    return found


def by_floor(folder: Path, layers: list[str]) -> float:
    """Multiply all rows with all rows in float32, which no exact search of neighbours does without."""
    checkpoint = open_checkpoint(folder)
    return sum(float((x @ x.T)[0, 0]) for x in (checkpoint[layer].float() for layer in layers))


def weights_of(folder: Path, model: str, layers: list[str], modes: int) -> Contest:
    """Compare the weights of some layers of a checkpoint, beside the same graphs and pairs by others."""

    def check(found: Mapping[str, Any]) -> dict[str, float]:
        compared, ours, theirs = (found[name] for name in list(found)[:3])
        assert not compared.failures
        cells = {cell["layer"]: cell for cell in compared.cells}
        assert list(cells) == list(theirs.edges)
        for layer, cell in cells.items():
            assert cell["edges"] == ours.edges[layer]
            # Comparisons keep six digits.
            assert (
                abs(cell["spectral_gap"] - ours.eigenvalues[layer][1])
                <= 1e-5 * ours.eigenvalues[layer][1] + 1e-9
            )
        away = [
            layer
            for layer in cells
            if ours.edges[layer] != theirs.edges[layer]
            # Cosines of float32 are good to 1e-7, and so are the eigenvalues of graphs with the same edges.
            or np.abs(ours.eigenvalues[layer] - theirs.eigenvalues[layer]).max() > 1e-6
        ]
        # Where two cosines differ by less than float32 can tell, scikit-learn may take the other one.
        assert len(away) <= 0.02 * len(cells), away
        return {"layers with other edges": len(away)}

    return Contest(
        f"weights of {model}",
        {"layers": len(layers), "k": modes},
        {
            "paramgraph, compare": partial(by_compare, folder, layers, modes),
            "paramgraph, functions": partial(by_functions, folder, layers, modes),
            "scikit-learn and SciPy": partial(by_peers, folder, layers, modes),
            "products alone": partial(by_floor, folder, layers),
        },
        check,
        turns=3,
        seconds=20.0,
        goals={"scikit-learn and SciPy": 1.0},
    )


def workers_of_weights(folder: Path, layers: list[str]) -> Contest:
    """Compare the same layers by two processes and by one, by the clock: their time is not this process's."""
    return Contest(
        "weights of SmolLM2-135M, by workers",
        {"layers": len(layers), "k": MODES},
        {
            "paramgraph, 2 workers": partial(by_compare, folder, layers, MODES, workers=2),
            "1 worker": partial(by_compare, folder, layers, MODES),
        },
        _check_same,
        turns=0,
        goals={"1 worker": TWO_WORKERS},
        clock=time.perf_counter,
    )


def five_constructions() -> Contest:
    """Compare cosine_knn and gram of two sources, and the ring, on gradients, beside nulls."""
    inputs = open_inputs(
        "all-MiniLM-L6-v2", "rotten_tomatoes", InputOptions(batches=12, batch_size=16, max_length=48)
    )
    # The classifier of the task stands behind them.
    tables = paramgraph.rows(inputs.model, exclude=inputs.exclude)
    layers = [layer for layer in tables if "encoder.layer." in layer][::THINNED]

    def compared(workers: int) -> Comparison:
        return paramgraph.compare(
            inputs.model,
            ["cosine_knn", "gram", "ring"],
            ["weights", "batch_gradients"],
            batches=inputs.batches,
            exclude=inputs.exclude,
            loss=inputs.loss,
            layers=layers,
            workers=workers,
        )

    def check(found: Mapping[str, Comparison]) -> None:
        _check_same(found)
        one = found["1 worker"]
        assert len(one.cells) == 5 * len(layers)
        for layer in (layers[0], layers[-1]):
            _check_against_formula(one, inputs, layer)

    return Contest(
        "five constructions on gradients of all-MiniLM-L6-v2, by workers",
        {"layers": len(layers)},
        {"paramgraph, 2 workers": partial(compared, 2), "1 worker": partial(compared, 1)},
        check,
        turns=0,
        goals={"1 worker": TWO_WORKERS},
        clock=time.perf_counter,
    )


def _check_same(found: Mapping[str, Comparison]) -> None:
    """Two workers find what one finds, to the last bit, but for the time it took."""
    one, two = (json.dumps([_timeless(cell) for cell in each.cells], default=str) for each in found.values())
    assert one == two
    assert not any(each.failures for each in found.values())


def _timeless(cell: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in cell.items() if not name.endswith("seconds")}


def _expected_compaction(graph: Data, X: Tensor, share: float = 0.2) -> float:
    """Share of the energy in the lowest modes, by a dense decomposition of SciPy."""
    vectors = scipy.linalg.eigh(scipy_laplacian(graph_to_scipy(graph).toarray(), normed=True))[1]
    low = vectors[:, : round(share * len(vectors))]
    energy = X.double().numpy()
    return float(np.square(low.T @ energy).sum() / np.square(energy).sum())


def _check_against_formula(found: Comparison, inputs: ComparisonInputs, layer: str) -> None:
    """Measure two cells of a layer anew, from the model and the batches that measured."""
    split = split_batches(len(inputs.batches), {}, 0)
    table = paramgraph.rows(inputs.model, exclude=inputs.exclude)[layer]
    X = paramgraph.gradients(
        inputs.model, table, [inputs.batches[place] for place in split.measure], inputs.loss
    )
    cells = {cell["construction"]: cell for cell in found.cells if cell["layer"] == layer}
    # 384 and 1,536 rows: 20 % of the modes of a ring end between two pairs of equal eigenvalues.
    data = table.to_data(paramgraph.weights(inputs.model, table))
    for name in ("ring", "cosine_knn of weights"):
        graph = paramgraph.get_builder(name.split()[0])(data)
        # Gradients in float32 are good to some 1e-6, comparisons keep six digits.
        assert abs(cells[name]["compaction"] - _expected_compaction(graph, X)) <= 1e-4
