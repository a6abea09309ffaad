"""Which batches build graphs and which measure them: never the same ones."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

FEWEST_MEASURING = 3  # the jackknife over batches needs as many
FEWEST_BUILDING = 2  # one for each half, whose graphs tell how stable edges are


@dataclass(frozen=True, eq=False)
class BatchSplit:
    """Hold the batches of one seed, as numbers of batches in the given order.

    Parameters
    ----------
    build, measure : tuple of int
        Disjoint.

    Examples
    --------
    >>> BatchSplit((0, 2), (1, 3)).halves
    ((0,), (2,))
    """

    build: tuple[int, ...]
    measure: tuple[int, ...]

    @property
    def halves(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The building batches in two halves; of an odd number the first half has one more."""
        middle = (len(self.build) + 1) // 2
        return self.build[:middle], self.build[middle:]


def list_batches(batches: Any) -> tuple[list[Any], dict[str, int]]:
    """List batches of either form, and how many were given for what.

    Parameters
    ----------
    batches : iterable, mapping with the keys "build" and "measure", or None
        As in `compare`.

    Returns
    -------
    batches : list
        All of them; those to build first where this was given.
    given : dict of str to int
        "build" and "measure" where they were given apart; else empty.

    Raises
    ------
    ValueError
        If there are too few, or the mapping has other keys.
    TypeError
        If `batches` is a string or cannot be iterated.

    Examples
    --------
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
    """Draw which batches build and which measure.

    Parameters
    ----------
    count : int
        Number of batches.
    given : mapping of str to int
        From `list_batches`: where building and measuring batches were given apart they stay so, and only the
        order within them, so the halves, is drawn.
    seed : int
        Of the draw; the global random state is not used.

    Returns
    -------
    BatchSplit
        Half of the batches each; of an odd number one more builds.

    Examples
    --------
    >>> split = split_batches(7, {}, seed=0)
    >>> len(split.build), len(split.measure), sorted(split.build + split.measure)
    (4, 3, [0, 1, 2, 3, 4, 5, 6])
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
    if build < FEWEST_BUILDING or measure < FEWEST_MEASURING:
        raise ValueError(
            f"{build + measure} batches are {build} to build graphs and {measure} to measure on; at least "
            f"{FEWEST_BUILDING} and {FEWEST_MEASURING} are needed: give 6 or more (smaller ones, if there is no more "
            "text), or {'build': [...], 'measure': [...]}"
        )
