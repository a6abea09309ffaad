"""Graphs and spectra on disk, keyed by the content that they were made from."""

import dataclasses
import json
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor
from torch_geometric.data import Data

from paramgraph.digests import (
    PACKAGE,
    UnidentifiedError,
    code_digest,
    content_digest,
    tensor_digest,
    text_digest,
)
from paramgraph.environment import versions
from paramgraph.errors import NumericalWarning, PerformanceWarning, users_level
from paramgraph.graphs import check_graph, with_edges
from paramgraph.spectra import Seed, ShiftOperator, Spectrum, count_pairs, eigenpairs
from paramgraph.whole_files import replacing

# What a builder adds to the nodes that it was given; everything else is there already.
GRAPH_FIELDS = ("edge_index", "edge_weight", "node_weight", "connecting_edges")
GRAPH_FACTS = ("num_nodes", "signed", "rewired_share")

_KINDS = {kind.__name__: kind for kind in (NumericalWarning, PerformanceWarning)}


class GraphCache:
    """Keep graphs and spectra in a folder, under the hash of everything that decides them.

    The key of a graph holds all fields of the nodes bit by bit, the builder with all its options, its source code and
    that of `paramgraph.graphs`; that of a spectrum the operator's `fingerprint`, the number of pairs, tolerance and
    seed, and the source code of `paramgraph.spectra`; both hold the versions of the packages below. Nothing is ever out
    of date: other content, and a mended line of code, has another key. Builders of this package are cached, also around
    each other; one of your own, which may draw at random or read what changes, is asked each time. Files are
    safetensors with a checksum, written whole or not at all, so several processes may share a folder. One that is
    damaged is made again, and where nothing can be written nothing is kept: a PerformanceWarning says so. Nothing is
    deleted: remove the folder when it is too large.

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
    >>> import tempfile, networkx as nx
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
        with suppress(OSError):  # what may not even be looked at is said when something is to be kept
            if self.folder.is_file():
                raise ValueError(f"the cache {self.folder} is a file: give a folder")
        self.hits = self.misses = 0
        self._versions = json.dumps(versions())
        self._is_refused = False  # said once

    def __repr__(self) -> str:
        return f"GraphCache({str(self.folder)!r}, hits={self.hits}, misses={self.misses})"

    def graph(self, builder: Callable[[Data], Data], data: Data, make: Callable[[], Data]) -> Data:
        """Find the graph that a builder makes of some nodes with their features, or have it made by `make`.

        The same, bit by bit, whether found or made, and with the same warnings of this package; one of another's is
        given, and its graph not kept. Reading is O(nodes x width) for the key and O(edges).
        """
        if not is_described(builder):
            return make()
        try:  # of any field of the nodes a builder may make what it likes
            nodes = content_digest(data.num_nodes, *((name, data[name]) for name in sorted(data.keys())))
        except UnidentifiedError:
            return make()
        key = self._key("graph", repr(builder), *_code_of(builder), nodes)
        found = self._read(key)
        if found is not None:
            tensors, facts = found
            _warn((_KINDS[name], text) for name, text in facts.pop("warnings"))
            features = data.get("x")
            device = features.device if isinstance(features, Tensor) else "cpu"
            tensors = {name: value.to(device) for name, value in tensors.items()}
            edges = tensors.pop("edge_index"), tensors.pop("edge_weight")
            graph = with_edges(data, *edges, facts["signed"], tensors.pop("node_weight", None))
            for name, value in {**tensors, **facts}.items():
                graph[name] = value
            return check_graph(graph)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            graph = make()
        told = [(one.category, str(one.message)) for one in caught]
        extra = set(graph.keys()) - set(data.keys()) - set(GRAPH_FIELDS) - set(GRAPH_FACTS) - {"builder"}
        # A field of the builder's own is not to be lost, nor another package's warning.
        if not extra and all(kind in _KINDS.values() for kind, _ in told):
            facts = {name: graph[name] for name in (*GRAPH_FACTS, "builder") if name in graph}
            facts["warnings"] = [(kind.__name__, text) for kind, text in told]
            self._write(key, {name: graph[name] for name in GRAPH_FIELDS if name in graph}, facts)
        _warn(told)
        return graph

    def spectrum(
        self, operator: ShiftOperator, k: int | None = None, tol: float = 1e-8, seed: Seed = 0
    ) -> Spectrum:
        """Find the k eigenpairs of an operator, by default all, or compute them.

        The same, bit by bit, whether found or computed. Takes and raises what `eigenpairs` does; of a generator's
        draws, which another call does not repeat, nothing is kept.
        """
        if isinstance(seed, np.random.Generator):
            return eigenpairs(operator, k=k, tol=tol, seed=seed)
        count = count_pairs(k, operator.nodes)
        asked = (operator.fingerprint(), str(count), repr(float(tol)), str(seed))
        key = self._key("spectrum", code_digest(PACKAGE / "spectra"), *asked)
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

    def _key(self, *parts: str) -> str:
        return text_digest(*parts, self._versions)

    def _read(self, key: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
        path = self._place(key)
        try:
            with safe_open(path, framework="pt") as opened:
                tensors = {name: opened.get_tensor(name).clone() for name in opened.keys()}  # noqa: SIM118
                metadata = opened.metadata() or {}
            if metadata.get("checksum") != _checksum(key, tensors, metadata.get("facts", "")):
                raise ValueError("its content has changed since it was written")
            facts = json.loads(metadata["facts"])
        except FileNotFoundError:
            self.misses += 1
            return None
        except Exception as error:  # what is damaged raises what it likes
            self.misses += 1
            self._say(f"{path} cannot be used and is made again: {error}")
            return None
        self.hits += 1
        return tensors, facts

    def _write(self, key: str, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        path = self._place(key)
        plain = {field: value.detach().cpu().contiguous() for field, value in tensors.items()}
        text = json.dumps(facts)
        metadata = {"facts": text, "checksum": _checksum(key, plain, text)}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as unfinished:
                unfinished.write_bytes(save(plain, metadata=metadata))
        except OSError as error:  # what was computed is still good
            if not self._is_refused:
                self._say(f"nothing can be kept in the cache {self.folder}, which costs time alone: {error}")
            self._is_refused = True

    def _say(self, text: str) -> None:
        warnings.warn(text, PerformanceWarning, stacklevel=4)

    def _place(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key[2:]}.safetensors"


def _warn(told: Iterable[tuple[type[Warning], str]]) -> None:
    for kind, text in told:
        warnings.warn(text, kind, stacklevel=users_level())


def _checksum(key: str, tensors: Mapping[str, Tensor], facts: str) -> str:
    return text_digest(
        key, *(part for name in sorted(tensors) for part in (name, tensor_digest(tensors[name]))), facts
    )


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
