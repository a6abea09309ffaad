"""Graphs of features: neighbours, correlations and Gram matrices beside scikit-learn, faiss, hnswlib and NumPy."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from sklearn.covariance import ledoit_wolf
from sklearn.neighbors import kneighbors_graph
from torch import Tensor
from torch_geometric.data import Data

from paramgraph import Correlation, CosineKNN, GaussianKNN, Gram, graph_to_scipy

from benchmarks.contest import Contest, Profile

K = 10
# At most so many times scikit-learn's time, and from so many rows on, where half of the products is most of the time.
SMALL_GOAL, LARGE_GOAL, LARGE, LIKEWISE = 1.0, 0.7, 1536, 1.2
ROWS, COLUMNS = (192, 384, 576, 1536, 4096), (384, 576, 1536, 4096)
APPROXIMATE = "hnswlib, approximate"
# hnswlib's usual settings: links of a node, and candidates that are looked at.
LINKS, CANDIDATES = 16, 100


def contests(profile: Profile) -> Iterator[Contest]:
    """Graphs of the shapes that matrices of models have, then of many nodes, then other kinds of graphs."""
    if profile == "smallest":
        yield cosine(60, 24, ("scikit-learn",))
        yield cosine(80, 8, ("scikit-learn", "faiss", APPROXIMATE))
        yield gaussian(50, 8)
        yield correlation(30, 12)
        yield gram(30, 12)
        return
    for columns in COLUMNS:
        for rows in ROWS:
            yield cosine(rows, columns, ("scikit-learn",), seconds=1.5)
    if profile == "full":
        yield cosine(10_000, 384, ("scikit-learn", "faiss", APPROXIMATE), turns=0)
        yield cosine(50_000, 64, ("faiss",), turns=0)
    yield gaussian(4096, 384)
    for rows in (576, 1536):
        yield correlation(rows, 384)
        yield gram(rows, 384)


def features(rows: int, columns: int) -> Tensor:
    """Draw standard normal features, the hardest for neighbours: none is much nearer than the others."""
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(0))


def cosine(rows: int, columns: int, peers: tuple[str, ...], turns: int = 20, seconds: float = 2.0) -> Contest:
    """Make the graph of the ten nearest cosines: ours exact whatever BLAS does, theirs as float32 rounds."""
    x = features(rows, columns)
    data, plain = Data(x=x, num_nodes=rows), x.numpy()
    known: Mapping[str, Callable[[], Any]] = {
        "scikit-learn": lambda: kneighbors_graph(plain, K, metric="cosine"),
        "faiss": lambda: _by_faiss(plain),
        APPROXIMATE: lambda: _by_hnswlib(plain),
    }
    left_out = {} if APPROXIMATE not in peers or _has_hnswlib() else {APPROXIMATE: "pip install hnswlib"}
    return Contest(
        "cosine_knn",
        {"nodes": rows, "width": columns},
        {"paramgraph": lambda: CosineKNN(k=K)(data)}
        | {peer: known[peer] for peer in peers if peer not in left_out},
        _compare_neighbours,
        turns=turns,
        seconds=seconds,
        theory={"nodes": 2, "width": 1},
        goals={"scikit-learn": LARGE_GOAL if rows >= LARGE else SMALL_GOAL}
        if "scikit-learn" in peers
        else {},
        # Each pair once: the product of all with all is symmetric.
        operations=1.0 * rows**2 * columns,
        left_out=left_out,
    )


def _compare_neighbours(found: Mapping[str, Any]) -> dict[str, float]:
    """Hold each peer's edges against ours; what finds neighbours approximately is told by its recall."""
    ours, recalls = graph_to_scipy(found["paramgraph"]).astype(bool), {}
    for name, peer in found.items():
        if name == "paramgraph":
            continue
        theirs = peer if not isinstance(peer, np.ndarray) else _graph(peer)
        theirs = theirs.maximum(theirs.T).astype(bool)  # either end's neighbour
        same = ours.multiply(theirs).nnz
        if name == APPROXIMATE:
            recalls["recall of hnswlib"] = same / ours.nnz
        else:
            # Where two cosines differ by less than float32 can tell, a peer may take the other one.
            assert ours.nnz + theirs.nnz - 2 * same <= 2e-3 * ours.nnz + 4, name
    return recalls


def _graph(neighbours: np.ndarray) -> Any:
    from scipy.sparse import csr_array

    rows = np.repeat(np.arange(len(neighbours)), neighbours.shape[1])
    ones = np.ones(neighbours.size)
    return csr_array((ones, (rows, neighbours.ravel())), shape=(len(neighbours),) * 2)


def _without_itself(neighbours: np.ndarray) -> np.ndarray:
    """Drop each row's own number, which is the first but where another is as near; else the last."""
    own = neighbours == np.arange(len(neighbours))[:, None]
    own[~own.any(axis=1), -1] = True
    return neighbours[~own].reshape(len(neighbours), -1)


def _by_faiss(x: np.ndarray) -> np.ndarray:
    import faiss

    faiss.omp_set_num_threads(1)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    index = faiss.IndexFlatIP(x.shape[1])
    index.add(unit)
    return _without_itself(index.search(unit, K + 1)[1])


def _has_hnswlib() -> bool:
    try:
        import hnswlib  # noqa: F401
    except ImportError:
        return False
    return True


def _by_hnswlib(x: np.ndarray) -> np.ndarray:
    import hnswlib

    index = hnswlib.Index(space="cosine", dim=x.shape[1])
    index.init_index(len(x), ef_construction=CANDIDATES, M=LINKS, random_seed=0)
    index.add_items(x, num_threads=1)
    index.set_ef(CANDIDATES)
    return _without_itself(index.knn_query(x, k=K + 1, num_threads=1)[0].astype(np.int64))


def gaussian(rows: int, columns: int) -> Contest:
    """Make the graph of the ten nearest points, weighted by distance."""
    x = features(rows, columns)
    data, plain = Data(x=x, num_nodes=rows), x.numpy()

    def check(found: Mapping[str, Any]) -> None:
        ours = graph_to_scipy(found["paramgraph"]).astype(bool)
        theirs = found["scikit-learn"].maximum(found["scikit-learn"].T).astype(bool)
        assert (ours != theirs).nnz <= 2e-3 * ours.nnz + 4

    return Contest(
        "gaussian_knn",
        {"nodes": rows, "width": columns},
        {
            "paramgraph": lambda: GaussianKNN(k=K)(data),
            "scikit-learn": lambda: kneighbors_graph(plain, K, mode="distance", metric="euclidean"),
        },
        check,
        theory={"nodes": 2, "width": 1},
        goals={"scikit-learn": LIKEWISE},
        operations=1.0 * rows**2 * columns,
    )


def correlation(rows: int, columns: int) -> Contest:
    """Shrink all correlations of the rows as Ledoit and Wolf do, and keep the strongest ten of each."""
    x = features(rows, columns)
    data, plain = Data(x=x, num_nodes=rows), x.T.double().numpy()
    builder = Correlation(k=K, estimator="ledoit_wolf")

    def theirs() -> np.ndarray:
        covariance = ledoit_wolf(plain)[0]
        scale = np.sqrt(np.diag(covariance))
        shrunk = covariance / scale[:, None] / scale
        np.fill_diagonal(shrunk, 0.0)
        kept = np.argpartition(-shrunk, K, axis=1)[:, :K]
        sparse = np.zeros_like(shrunk)
        np.put_along_axis(sparse, kept, np.take_along_axis(shrunk, kept, 1), 1)
        return np.maximum(sparse, sparse.T)

    def check(found: Mapping[str, Any]) -> None:
        ours = graph_to_scipy(found["paramgraph"]).toarray()
        # Our weights are rounded to the float32 of the features; below 1 that is 6e-8.
        np.testing.assert_allclose(ours, np.maximum(found["scikit-learn"], 0.0), rtol=0, atol=1e-7)

    return Contest(
        "correlation, Ledoit-Wolf",
        {"nodes": rows, "width": columns},
        {"paramgraph": lambda: builder(data), "scikit-learn": theirs},
        check,
        theory={"nodes": 2, "width": 1},
        goals={"scikit-learn": LIKEWISE},
        operations=1.0 * rows**2 * columns,
        precision="float64",
    )


def gram(rows: int, columns: int) -> Contest:
    """Form the dense Gram matrix in float64, scaled to a mean diagonal of 1."""
    x = features(rows, columns)
    data = Data(x=x, num_nodes=rows)

    def theirs() -> np.ndarray:
        wide = x.double().numpy()
        product = wide @ wide.T
        return product * (rows / np.trace(product))

    def check(found: Mapping[str, Any]) -> None:
        ours = graph_to_scipy(found["paramgraph"]).toarray()
        # Our entries are rounded to the float32 of the features; the diagonal is near 1.
        np.testing.assert_allclose(ours, found["NumPy"], rtol=0, atol=1e-6)

    return Contest(
        "gram",
        {"nodes": rows, "width": columns},
        {"paramgraph": lambda: Gram()(data), "NumPy": theirs},
        check,
        theory={"nodes": 2, "width": 1},
        goals={"NumPy": LIKEWISE},
        operations=1.0 * rows**2 * columns,
        precision="float64",
    )
