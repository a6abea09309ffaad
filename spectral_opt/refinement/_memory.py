"""Where a refinement has base and graphs: in memory, or in files, block by block; estimated before any loading."""

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from torch import Tensor, nn

from paramgraph._checks import known_choice
from paramgraph.checkpoints import Located, ModelLike, locate, open_skeleton
from paramgraph.environment import available_bytes
from paramgraph.nodes import NodeTable
from paramgraph.sources import Batches, blocks_of
from paramgraph.whole_files import free_disk_bytes, lies_in_memory
from spectral_opt.config import SpectralConfig
from spectral_opt.preparation import is_moment_gram, match_tables, reads_features

Memory = Literal["auto", "whole", "blocks"]
# Of the largest Gram matrix: what an eigensolver works with, or the factors that are kept and one in the making.
MATRICES = 6
# Of the largest weight, in float32: base, tuned, delta, filtered, and one of each side of a product.
WEIGHTS = 6
# Of the logits of a batch, in float32: themselves, their logarithms, their probabilities.
LOGITS = 3
# What torch and transformers take, and what an allocator cannot give back.
RUNNING = 7 * 10**8
# Of a base in files: a shard of the result lies in files until it is written.
SHARD_BYTES = 4 * 10**8


@dataclass(frozen=True)
class Placement:
    """Where base and graphs are, and why."""

    chosen: Literal["whole", "blocks"]
    reason: str

    @property
    def in_files(self) -> bool:
        """Whether base and graphs lie in files."""
        return self.chosen == "blocks"

    def __str__(self) -> str:
        where = "in files, block by block" if self.in_files else "in memory"
        return f"base and graphs {where}: {self.reason}"


def choose_placement(
    asked: Memory,
    base: ModelLike,
    configs: Sequence[SpectralConfig],
    sets: Mapping[str, Batches],
    measured: bool = False,
    nulls: bool = False,
) -> Placement:
    """Choose what was asked, or for "auto" memory where the estimate fits into what is free, else files.

    Where states are `measured` in memory, a copy of the model in float32 is counted too, with `nulls` the graphs of
    one. A ValueError where files cannot be, or where there is not memory enough for one block either.
    """
    known_choice("memory", asked, get_args(Memory))
    where = locate(base, "base")
    if where.kind not in ("folder", "hub"):
        if asked == "blocks":
            raise ValueError(
                f"memory='blocks' reads the base from its files, and base was given as a {where.kind}: give its folder"
            )
        return Placement("whole", "base was given in memory or as weights alone")
    if asked == "whole":
        return Placement("whole", "as asked")
    reason = _not_in_files(configs)
    if asked == "blocks" and reason:
        raise ValueError(f"memory='blocks' {reason}")
    free = available_bytes()
    try:
        need = _Need.of(where, configs, sets, measured, nulls)
    except ValueError as error:
        if asked == "blocks":
            raise
        return Placement("whole", f"not estimated ({error})")  # loading it says the same, or more
    room = "an unknown size is" if free is None else f"{_gigabytes(free)} are"
    if asked == "auto" and (free is None or need.whole <= free):
        return Placement("whole", f"about {_gigabytes(need.whole)} are needed, and {room} free")
    if reason:
        raise ValueError(
            f"not enough memory: about {_gigabytes(need.whole)} are needed and {room} free, and memory='blocks' "
            f"{reason}"
        )
    if free is not None and need.blocks > free:
        raise ValueError(
            f"not enough memory: one block at a time needs about {_gigabytes(need.blocks)}, and {room} free; give "
            "batches of fewer or shorter texts, leave the widest layers out (exclude=...), or free memory"
        )
    _check_files(need, free)
    why = "as asked" if asked == "blocks" else f"in memory about {_gigabytes(need.whole)} would be needed"
    return Placement("blocks", f"{why}; about {_gigabytes(need.blocks)} are needed so, and {room} free")


def _check_files(need: "_Need", free: int | None) -> None:
    """Refuse with a ValueError temporary files that have no room, be it on a disk or, in a tmpfs, in memory."""
    folder = tempfile.gettempdir()
    room = free_disk_bytes(folder)
    if need.files > room:
        raise ValueError(
            f"no room for about {_gigabytes(need.files)} of temporary files in {folder}, which has {_gigabytes(room)} "
            "free: set TMPDIR to a folder on a larger disk"
        )
    if lies_in_memory(folder) and free is not None and need.blocks + need.files > free:
        raise ValueError(
            f"not enough memory: temporary files of about {_gigabytes(need.files)} would lie in {folder}, which is "
            f"memory itself, and {_gigabytes(free)} are free: set TMPDIR to a folder on a disk"
        )


def _not_in_files(configs: Sequence[SpectralConfig]) -> str:
    """Say why graphs of some configs cannot be in files: nulls are in memory, and features, of all tables at once."""
    for config in configs:
        sides = ("rows", "columns") if config.scheme == "entries" else (config.scheme,)
        if reads_features(config) and not all(is_moment_gram(config, side) for side in sides):
            return (
                "is for graphs of second moments, as the presets 'preserve' have, and for graphs without features; "
                f"this one is builder={config.builder!r} of source={config.source!r} on {config.scheme}"
            )
        if reads_features(config) and config.null is not None:
            return f"is not for nulls, which are held in memory: null is {config.null!r}, leave it out"
    return ""


@dataclass(frozen=True)
class _Need:
    """Estimated bytes: with all in memory, with base and graphs in files, and of those files that are made for it."""

    whole: int
    blocks: int
    files: int

    @classmethod
    def of(
        cls,
        where: Located,
        configs: Sequence[SpectralConfig],
        sets: Mapping[str, Batches],
        measured: bool = False,
        nulls: bool = False,
    ) -> "_Need":
        """Estimate from the description alone; ValueError where there is none, or nothing matches."""
        model = open_skeleton(where)
        width = _width(model)
        sizes = [width * parameter.numel() for parameter in model.parameters()]
        graphs = largest = 0
        tables: dict[str, NodeTable] = {}
        for config in configs:
            found, _ = match_tables(model, config)
            tables |= found
            # A null lies beside what it is made of.
            operators = 1 if config.null is None else 2
            graphs += operators * sum(_graph_bytes(table, config) for table in found.values())
            largest = max([largest, *(_matrix_bytes(table, config) for table in found.values())])
        states = max((_state_bytes(model, tables, configs, batch) for batch in _seen(sets)), default=0)
        working = RUNNING + largest + states
        # A copy that is measured is in float32 at least.
        other = max(4, width) * sum(sizes) // width if measured else sum(sizes)
        whole = sum(sizes) + other + (2 if nulls else 1) * graphs + working
        return cls(whole, max(sizes) + working, graphs + min(SHARD_BYTES, sum(sizes)))


def _graph_bytes(table: NodeTable, config: SpectralConfig) -> int:
    rows, columns = table.shape
    if config.scheme == "entries":
        # Sums of one side in float64, then bases and energies in float32.
        return 8 * max(rows, columns) ** 2 + 4 * (rows**2 + columns**2 + rows * columns)
    return 8 * rows**2 if is_moment_gram(config, config.scheme) else 0


def _matrix_bytes(table: NodeTable, config: SpectralConfig) -> int:
    """Estimate what one table takes while its operator and filter are made, and its delta filtered."""
    rows, columns = table.shape
    nodes = max(rows, columns) if config.scheme == "entries" else rows
    is_dense = config.scheme == "entries" or is_moment_gram(config, config.scheme)
    return (MATRICES * 8 * nodes**2 if is_dense else 0) + WEIGHTS * 4 * rows * columns


def _width(model: nn.Module) -> int:
    dtype: Any = getattr(getattr(model, "config", None), "dtype", None)
    return int(getattr(dtype, "itemsize", 4))


def _seen(sets: Mapping[str, Batches]) -> Iterable[Any]:
    """Give the batches that can be looked at without drawing them."""
    for batches in sets.values():
        if isinstance(batches, list | tuple):
            yield from batches


def _state_bytes(
    model: nn.Module, tables: Mapping[str, NodeTable], configs: Sequence[SpectralConfig], batch: Any
) -> int:
    """Estimate what one batch takes: states between blocks, signals of one block, and logits."""
    values = batch.values() if isinstance(batch, Mapping) else batch if isinstance(batch, tuple) else (batch,)
    tokens = max(
        (value.numel() for value in values if isinstance(value, Tensor) and value.ndim <= 2), default=0
    )
    blocks = max(len(blocks_of(model)), 1)
    hidden = min((min(table.shape) for table in tables.values()), default=0)
    features = sum(sum(table.shape) for table in tables.values()) // blocks
    head: Any = getattr(model, "get_output_embeddings", lambda: None)()
    classes = int(getattr(head, "out_features", 0))
    # Gradients keep a block's signals twice, and a state for each block.
    gradients = any(config.scheme != "columns" for config in configs)
    signals = (2 if gradients else 1) * features + (blocks * hidden if gradients else 0)
    return 4 * tokens * (signals + LOGITS * classes)


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.2g} GB"
