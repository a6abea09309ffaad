"""Which batches build graphs and which measure them: never the same ones."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from paramgraph.comparison._options import SplitBatches
from paramgraph.measures import FEWEST_BATCHES

FEWEST_BUILDING = 2  # one for each half, whose graphs tell how stable edges are


@dataclass(frozen=True, eq=False)
class BatchSplit:
    """Hold the batches of one seed, as numbers of batches in the given order; those of both parts are disjoint."""

    build: tuple[int, ...]
    measure: tuple[int, ...]

    @property
    def halves(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The building batches in two halves; of an odd number the first half has one more."""
        middle = (len(self.build) + 1) // 2
        return self.build[:middle], self.build[middle:]


def list_batches(batches: SplitBatches | None) -> tuple[list[Any], dict[str, int]]:  # Any: batches
    """List batches of either form, those to build first, and how many were given for what; {} where not given apart.

    Too few or other keys are a ValueError, what is no list a TypeError.

    >>> list_batches({"build": [1, 2], "measure": [3, 4, 5]})
    ([1, 2, 3, 4, 5], {'build': 2, 'measure': 3})
    """
    if batches is None:
        return [], {}
    if isinstance(batches, Mapping):
        if set(batches) != {"build", "measure"}:
            raise ValueError(
                f"batches is a list, or a mapping with the keys 'build' and 'measure'; got {sorted(batches)}"
            )
        parts = {name: list(batches[name]) for name in ("build", "measure")}
        counts = {name: len(part) for name, part in parts.items()}
        _check_counts(**counts)
        return parts["build"] + parts["measure"], counts
    if isinstance(batches, str) or not isinstance(batches, Iterable):
        raise TypeError(f"batches is a list of batches, got {type(batches).__name__}")
    listed = list(batches)
    _check_counts(len(listed) - len(listed) // 2, len(listed) // 2)
    return listed, {}


def split_batches(count: int, given: Mapping[str, int], seed: int) -> BatchSplit:
    """Draw which batches build and which measure: half each; of an odd number one more builds.

    Where they were `given` apart, as `list_batches` says, only the order within them, so the halves, is drawn. The
    global random state is not used.
    """
    rng = np.random.default_rng(seed)
    if given:
        first = given["build"]
        build, measure = rng.permutation(first), np.arange(first, count)
    else:
        order = rng.permutation(count)
        build, measure = order[: count - count // 2], order[count - count // 2 :]
    return BatchSplit(tuple(build.tolist()), tuple(measure.tolist()))


def _check_counts(build: int, measure: int) -> None:
    if build < FEWEST_BUILDING or measure < FEWEST_BATCHES:
        raise ValueError(
            f"{build + measure} batches are {build} to build graphs and {measure} to measure on; at least "
            f"{FEWEST_BUILDING} and {FEWEST_BATCHES} are needed: give 6 or more (smaller ones, if there is no more "
            "text), or {'build': [...], 'measure': [...]}"
        )
