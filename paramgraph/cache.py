"""Graphs and spectra on disk, keyed by the content that they were made from."""

import dataclasses
import functools
import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch_geometric.data import Data

from paramgraph.graphs import check_graph
from paramgraph.spectra import ShiftOperator, Spectrum, count_pairs, eigenpairs

logger = logging.getLogger(__name__)

PACKAGE = Path(__file__).parent

# What a builder adds to the nodes that it was given; everything else is there already.
GRAPH_FIELDS = ("edge_index", "edge_weight", "node_weight")
GRAPH_FACTS = ("signed", "rewired_share")


class GraphCache:
    """Keep graphs and spectra in a folder, under the hash of everything that decides them.

    The key of a graph holds the features of the nodes bit by bit, their layers, heads and roles, the builder with
    all its options, its source code and that of `paramgraph.graphs`; that of a spectrum the operator's `fingerprint`,
    the number of pairs, tolerance and seed, and the source code of `paramgraph.spectra`. Nothing is ever out of date:
    other content, and a mended line of code, has another key. Builders of this package are cached, also around each
    other; one of your own, whose code may change without a new name, is asked each time. Files are safetensors, written
    whole or not at all, so several processes may share a folder. Nothing is deleted: remove the folder when it is too
    large.

    Parameters
    ----------
    folder : str or Path
        Made where it is missing.

    Attributes
    ----------
    hits, misses : int
        What was found, and what had to be made, since this object exists.

    Examples
    --------
    >>> import networkx as nx
    >>> from paramgraph import laplacian
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     cache = GraphCache(folder)
    ...     first = cache.spectrum(laplacian(nx.path_graph(4)))
    ...     again = cache.spectrum(laplacian(nx.path_graph(4)))
    >>> bool((first.eigenvectors == again.eigenvectors).all()), cache.hits, cache.misses
    (True, 1, 1)
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).expanduser()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.hits = self.misses = 0

    def __repr__(self) -> str:
        return f"GraphCache({str(self.folder)!r}, hits={self.hits}, misses={self.misses})"

    def graph(self, builder: Callable[[Data], Data], data: Data, make: Callable[[], Data]) -> Data:
        """Find the graph that a builder makes of some nodes with their features, or have it made by `make`.

        The same, bit by bit, whether found or made. Reading is O(nodes x width) for the key and O(edges).
        """
        if not is_described(builder):
            return make()
        key = _digest("graph", repr(builder), *_code_of(builder), str(data.num_nodes), *_node_facts(data))
        found = self._read(key)
        if found is not None:
            tensors, facts = found
            graph = data.clone()
            for name, value in {**tensors, **facts}.items():
                graph[name] = value.to(data.x.device) if isinstance(value, Tensor) else value
            return check_graph(graph)
        graph = make()
        extra = set(graph.keys()) - set(data.keys()) - set(GRAPH_FIELDS) - set(GRAPH_FACTS) - {"builder"}
        if not extra:  # a field of the builder's own is not to be lost
            facts = {name: graph[name] for name in (*GRAPH_FACTS, "builder") if name in graph}
            self._write(key, {name: graph[name] for name in GRAPH_FIELDS if name in graph}, facts)
        return graph

    def spectrum(
        self, operator: ShiftOperator, k: int | None = None, tol: float = 1e-8, seed: int = 0
    ) -> Spectrum:
        """Find the k eigenpairs of an operator, by default all, or compute them.

        The same, bit by bit, whether found or computed. Takes and raises what `eigenpairs` does.
        """
        count = count_pairs(k, operator.nodes)
        asked = (operator.fingerprint(), str(count), repr(float(tol)), str(seed))
        key = _digest("spectrum", code_digest(PACKAGE / "spectra"), *asked)
        found = self._read(key)
        if found is not None:
            tensors, facts = found
            return Spectrum(**tensors, **facts)
        spectrum = eigenpairs(operator, k=count, tol=tol, seed=seed)
        values = {field.name: getattr(spectrum, field.name) for field in dataclasses.fields(spectrum)}
        self._write(
            key,
            {name: value for name, value in values.items() if isinstance(value, Tensor)},
            {name: value for name, value in values.items() if not isinstance(value, Tensor)},
        )
        return spectrum

    def _read(self, key: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
        path = self._place(key)
        try:
            with safe_open(path, framework="pt") as opened:
                tensors = {name: opened.get_tensor(name).clone() for name in opened.keys()}  # noqa: SIM118
                facts = json.loads((opened.metadata() or {})["facts"])
        except (OSError, SafetensorError, KeyError, ValueError):  # missing, or of a disk that was full
            self.misses += 1
            return None
        self.hits += 1
        return tensors, facts

    def _write(self, key: str, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        path = self._place(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
        os.close(handle)
        try:
            plain = {field: value.detach().cpu().contiguous() for field, value in tensors.items()}
            save_file(plain, name, metadata={"facts": json.dumps(facts)})
            Path(name).replace(path)
        except OSError as error:  # a full disk: what was computed is still good
            logger.warning("%s cannot be kept in the cache: %s", path.name, error)
        finally:
            Path(name).unlink(missing_ok=True)

    def _place(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key[2:]}.safetensors"


def is_described(builder: object) -> bool:
    """Tell whether the `repr` of a builder, with this package's code, says all that decides its graphs.

    So it is for this package's builders whose options are numbers, strings and builders of this kind.
    """
    if not dataclasses.is_dataclass(builder) or isinstance(builder, type):
        return False
    if not type(builder).__module__.startswith("paramgraph."):
        return False
    plain = (str, int, float, np.generic, type(None))  # no arrays, whose repr leaves entries out
    return all(isinstance(value, plain) or is_described(value) for value in _options(builder))


def _options(builder: Any) -> list[Any]:
    return [getattr(builder, field.name) for field in dataclasses.fields(builder)]


def tensor_digest(*tensors: Tensor) -> str:
    """Hash tensors of any dtype and device: dtype, shape and every bit; 20 bytes of BLAKE2b, 1 GB a second."""
    digest = hashlib.blake2b(digest_size=20)
    for tensor in tensors:
        plain = tensor.detach().cpu().contiguous()
        digest.update(f"{plain.dtype} {tuple(plain.shape)};".encode())
        digest.update(plain.reshape(-1).view(torch.uint8).numpy().data if plain.numel() else b"")
    return digest.hexdigest()


def _node_facts(data: Data) -> list[str]:
    tensors = [data[name] for name in ("x", "layer", "head") if isinstance(data.get(name), Tensor)]
    return [tensor_digest(*tensors), json.dumps(data.get("role"))]


def _code_of(builder: Any) -> list[str]:
    """Hash the code that decides a graph: what builders share, this builder's file, and that of one that it wraps."""
    module = type(builder).__module__.split(".")[1:]
    own = PACKAGE.joinpath(*module).with_suffix(".py")
    inner = [one for one in _options(builder) if dataclasses.is_dataclass(one)]
    return [
        code_digest(PACKAGE / "graphs"),
        code_digest(own),
        *(code for one in inner for code in _code_of(one)),
    ]


@functools.cache  # code does not change while a process runs it
def code_digest(place: Path) -> str:
    """Hash a file of Python, or all below a folder, whatever they are called, with their names in it."""
    files = sorted(place.rglob("*.py")) if place.is_dir() else [place]
    texts = [(file.relative_to(place).as_posix(), file.read_text(encoding="utf-8")) for file in files]
    return _digest(*(part for text in texts for part in text))


def _digest(*parts: str) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{len(part)}:{part}".encode())
    return digest.hexdigest()
