"""What may be asked of a comparison: the types of its arguments, and what is checked before any work."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from torch import Tensor, nn

from paramgraph._checks import is_number, is_whole
from paramgraph.errors import UnknownNameError
from paramgraph.graphs import BuilderLike
from paramgraph.measures import FIFTHS, band_edges
from paramgraph.sources import SOURCES, Batches, Source, SourceLike, as_source

# A module; or a folder or a name on the hub, whose weights are read matrix by matrix.
ModelLike: TypeAlias = nn.Module | str | os.PathLike[str]
TunedLike: TypeAlias = ModelLike | Mapping[str, Tensor]
# One, several, or several by names of the user's own.
Builders: TypeAlias = BuilderLike | Sequence[BuilderLike] | Mapping[str, BuilderLike]
Sources: TypeAlias = SourceLike | Sequence[SourceLike]
# One list that is parted at random, or those that build and those that measure, by the keys "build" and "measure".
SplitBatches: TypeAlias = Batches | Mapping[str, Batches]
Null = Literal["permuted", "rotated", "random"]
Shift = Literal["auto", "laplacian", "adjacency"]

NULLS: tuple[Null, ...] = get_args(Null)
SHIFTS: tuple[Shift, ...] = get_args(Shift)

# All modes of 2,048 nodes take 1.5 s and 34 MB; of 11,008 nodes four minutes and a gigabyte.
COMPLETE_UP_TO = 2048
MODES_BEYOND = 64


@dataclass(frozen=True)
class MeasurementOptions:
    """How constructions are measured: the arguments of `compare` that have these names."""

    bands: tuple[float, ...] = FIFTHS
    share: float = 0.2
    nulls: tuple[Null, ...] = NULLS
    permutations: int = 399
    modes: int | None = None
    shift: Shift = "auto"

    def count(self, nodes: int) -> int:
        """Return how many eigenpairs a graph of so many nodes is given."""
        if self.modes is not None:
            return min(self.modes, nodes)
        return nodes if nodes <= COMPLETE_UP_TO else MODES_BEYOND


def check_comparison(options: MeasurementOptions, seeds: Sequence[int]) -> None:
    """Refuse what cannot be measured by a ValueError, TypeError or UnknownNameError that says what is allowed."""
    band_edges(1, options.bands)
    if not is_number(options.share):
        raise TypeError(f"share is a number between 0 and 1, got {options.share!r}")
    for name, count in (("permutations", options.permutations), ("modes", options.modes)):
        if not (is_whole(count) or (name == "modes" and count is None)):
            raise TypeError(f"{name} is an integer, got {count!r}")
    if not 0 < options.share < 1:
        raise ValueError(f"share is a share of the modes, between 0 and 1; got {options.share}")
    for null in options.nulls:
        if null not in NULLS:
            raise UnknownNameError.among("null model", null, NULLS)
    if options.shift not in SHIFTS:
        raise UnknownNameError.among("shift operator", options.shift, SHIFTS)
    if options.permutations < 0 or 0 < options.permutations < 19:
        raise ValueError(
            f"permutations is {options.permutations}: fewer than 19 cannot give a p-value of .05; 0 for none"
        )
    if options.modes is not None and options.modes < 2:
        raise ValueError(f"modes is a number of eigenpairs, at least 2, or None; got {options.modes}")
    if not seeds:
        raise ValueError("give at least one seed, such as seeds=(0,)")
    for seed in seeds:
        if not is_whole(seed):
            raise TypeError(f"a seed is an integer, got {seed!r}")
    if len(set(seeds)) < len(seeds) or min(seeds) < 0 or max(seeds) >= 2**63:
        raise ValueError(f"seeds are different integers from 0 to 2^63 - 1; got {list(seeds)}")


def choose_signal(signal: str, sources: Mapping[str, SourceLike], has_batches: bool, has_tuned: bool) -> str:
    """Decide what is measured on the graphs, and see that everything for it and for the sources is there.

    "auto" is gradients if there are batches, else updates if there is a tuned model, else weights. An unknown signal is
    an UnknownNameError, batches or a tuned model that are lacking a ValueError.
    """
    check_signal(signal)
    if signal == "auto":
        signal = "gradients" if has_batches else "updates" if has_tuned else "weights"
    asked = read_sources(signal, sources)
    for name, source in asked.items():
        if source.needs_batches and not has_batches:
            static = " and ".join(name for name, source in SOURCES.items() if source.from_checkpoint)
            raise ValueError(f"{name!r} needs batches=[...], at least six; without them there are {static}")
    for name, source in asked.items():
        if source.needs_tuned and not has_tuned:
            raise ValueError(
                f"{name!r} needs tuned=..., the model after fine-tuning, its folder or its adapter"
            )
    return signal


def read_sources(signal: str, sources: Mapping[str, SourceLike]) -> dict[str, Source]:
    """List all that is read, by name: what graphs are built from, and the signal."""
    return {signal: SOURCES[signal]} | {name: as_source(source) for name, source in sources.items()}


def check_signal(signal: str) -> None:
    """Refuse what is neither "auto" nor a source that may be measured on graphs; UnknownNameError names those."""
    known = ("auto", *(name for name, source in SOURCES.items() if source.is_signal))
    if signal not in known:
        raise UnknownNameError.among("signal", signal, known)
