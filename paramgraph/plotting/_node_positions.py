"""Where the nodes of a drawing lie: each component laid out by itself, then packed side by side."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

import networkx as nx
import numpy as np
import scipy.sparse as sp
from jaxtyping import Float

from paramgraph.errors import UnknownNameError
from paramgraph.graphs import GraphLike, component_labels, edge_part, weight_matrix
from paramgraph.spectra import eigenpairs, laplacian

BuiltIn = Literal["spectral", "spring"]
# As those of networkx: a mapping from node to its place (x, y).
OwnLayout = Callable[[nx.Graph], Mapping[Any, Any]]  # Any: places are checked, whatever they are made of
Layout = BuiltIn | OwnLayout

SPRING_ROUNDS = 100
# Empty space between two components, in the units in which n nodes fill a circle of radius sqrt(n).
MARGIN = 0.8


def node_positions(
    graph: GraphLike, layout: Layout = "spring", seed: int = 0
) -> Float[np.ndarray, "nodes 2"]:
    """Lay the nodes of a graph out in the plane, the same way for the same graph and seed.

    "spectral" takes the first two eigenvectors of the random-walk Laplacian after the constant; "spring" begins there,
    with ties between nodes at one place broken at random, and takes O(nodes^2) time for each of 100 rounds. A callable
    gets a networkx graph of the nodes 0 to n - 1 with `weight`. Negative edges pull nothing together. A ValueError if a
    layout is unknown, or gives no place for each node.
    """
    W = edge_part(weight_matrix(graph))
    if callable(layout):
        return _given_positions(nx.from_scipy_sparse_array(W), layout)
    if layout not in get_args(BuiltIn):
        raise UnknownNameError.among("layout", layout, get_args(BuiltIn))
    attraction = W.maximum(0)
    attraction.eliminate_zeros()
    # Forces and their squares of one size, whatever the units of the weights.
    attraction.data = np.ldexp(attraction.data, -np.frexp(attraction.data.max(initial=0.0))[1])
    label = component_labels(attraction)
    positions = np.zeros((W.shape[0], 2))
    members = [np.flatnonzero(label == part) for part in range(label.max(initial=-1) + 1)]
    members.sort(key=len, reverse=True)
    for nodes, centre in zip(members, _pack([len(nodes) for nodes in members]), strict=True):
        if len(nodes) > 1:
            positions[nodes] = _component(attraction[nodes][:, nodes], layout, seed) * np.sqrt(len(nodes))
        positions[nodes] += centre
    return positions


def _component(W: sp.csr_array, layout: str, seed: int) -> Float[np.ndarray, "nodes 2"]:
    """Lay one connected component out within the unit circle around 0."""
    nodes = W.shape[0]
    vectors = eigenpairs(laplacian(W, "rw"), k=min(3, nodes)).eigenvectors.numpy()[:, 1:]
    places = np.zeros((nodes, 2))
    places[:, : vectors.shape[1]] = vectors / np.abs(vectors).max(axis=0)
    if layout == "spring":
        # Springs cannot part nodes that start at one place.
        places += 0.02 * np.random.default_rng(seed).standard_normal(places.shape)
        start = dict(enumerate(places))
        found = nx.spring_layout(
            nx.from_scipy_sparse_array(W), pos=start, iterations=SPRING_ROUNDS, seed=seed, method="force"
        )
        places = np.array([found[node] for node in range(nodes)])
    places = places - (places.max(axis=0) + places.min(axis=0)) / 2
    # Upright components would waste the width of a figure.
    if np.ptp(places[:, 1]) > np.ptp(places[:, 0]):
        places = places[:, ::-1]
    return np.asarray(places / np.linalg.norm(places, axis=1).max())


def _pack(sizes: list[int]) -> Float[np.ndarray, "parts 2"]:
    """Place circles of radius sqrt(size), largest first, in rows of about equal width."""
    centres = np.zeros((len(sizes), 2))
    radius = np.sqrt(np.array(sizes, dtype=float)) + MARGIN / 2
    radius[np.array(sizes) == 1] = 0.6
    width = max(1.3 * np.sqrt((4 * radius**2).sum()), 2 * radius.max(initial=0.0))
    x = y = 0.0
    height = 0.0
    for at, reach in enumerate(radius):
        if x + 2 * reach > width + 1e-9:
            x, y, height = 0.0, y - height, 0.0
        centres[at] = x + reach, y - reach
        x, height = x + 2 * reach, max(height, 2 * reach)
    return centres


def _given_positions(network: nx.Graph, layout: OwnLayout) -> Float[np.ndarray, "nodes 2"]:
    found = layout(network)
    try:
        places = np.array([found[node] for node in network], dtype=np.float64).reshape(-1, 2)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ValueError(f"a layout maps each of the {len(network)} nodes to (x, y): {error!r}") from error
    if len(places) != len(network) or not np.isfinite(places).all():
        raise ValueError(f"a layout gives each of the {len(network)} nodes one finite place (x, y)")
    return places
