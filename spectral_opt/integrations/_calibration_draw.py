"""Calibration batches drawn from a training set, without touching its loader or any global random state."""

import copy
import logging
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils.data import ConcatDataset

from paramgraph.sources import RandomStates

_logger = logging.getLogger(__name__)


def draw_batches(
    dataset: Any,  # anything with len() and [], told below from a stream
    collate: Callable[[list[Any]], Any],  # items and batches are the caller's own
    batch_size: int,
    batches: int,
    seed: int = 0,
    shared: Sequence[Any] = (),
) -> list[Any]:
    """Draw batches of a data set with a length and items by number, without replacement, the same on all ranks.

    There are fewer batches where the data set has fewer, and the last may then be smaller; both are logged. A batch is
    of one of the data sets that a ConcatDataset puts one after the other, so that each may end with a smaller one. A
    collator object is copied first, so that a generator of its own stays where it is, but for what is `shared`, such as
    the tokenizer; a plain function or a bound method is called as it is. Global random states are as before, whatever
    data set and collator draw. ValueError if the data set is empty, or is a stream: reading it would move it on.
    """
    if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
        raise ValueError(
            f"no calibration batches were given, and none can be drawn from the training set: a "
            f"{type(dataset).__name__} has no length or no items by number, and reading a stream would move it on; "
            "pass batches=[...]"
        )
    if not len(dataset):
        raise ValueError(
            "no calibration batches were given, and the training set is empty; pass batches=[...]"
        )
    states = RandomStates.capture()
    try:
        generator = torch.Generator().manual_seed(seed)
        chosen = torch.randperm(len(dataset), generator=generator)[: batches * batch_size].tolist()
        own = _own_copy(collate, shared)
        drawn = [
            own([dataset[place] for place in part[first : first + batch_size]])
            for part in _parts(dataset, chosen)
            for first in range(0, len(part), batch_size)
        ]
    finally:
        states.restore()
    _logger.info(
        "drew %d calibration batches (%d of %d examples, seed %d) from the training set",
        *(len(drawn), len(chosen), len(dataset), seed),
    )
    return drawn


def draw_from_loader(loader: Any, batches: int, seed: int, shared: Sequence[Any] = ()) -> list[Any]:
    """Draw batches, as `draw_batches` does, of the data set of a DataLoader, with its collate function and batch size.

    A batch sampler that states no batch size is copied, and its first batch tells. ValueError where it cannot be
    copied, and where the loader is no single one over a data set, such as a mapping of loaders or an iterable of one's
    own.
    """
    if not hasattr(loader, "dataset") or not hasattr(loader, "collate_fn"):
        raise ValueError(
            f"no calibration batches were given, and none can be drawn from a {type(loader).__name__}, which is not "
            "one DataLoader over a data set; pass batches=[...]"
        )
    sampler = getattr(loader, "batch_sampler", None)
    size = loader.batch_size or getattr(sampler, "batch_size", None)
    if size is None and sampler is None:  # automatic batching is off: what the data set gives are batches
        return draw_batches(loader.dataset, lambda items: loader.collate_fn(items[0]), 1, batches, seed)
    size = size or _first_size(loader, shared)
    return draw_batches(loader.dataset, loader.collate_fn, size, batches, seed, shared)


def _first_size(loader: Any, shared: Sequence[Any]) -> int:
    """Count the first batch of a copy of the loader's batch sampler, which stays where it is."""
    kept = {id(item): item for item in (loader.dataset, *shared) if item is not None}
    states = RandomStates.capture()
    try:
        size = len(next(iter(copy.deepcopy(loader.batch_sampler, kept)), ()))
    except TypeError:  # of what cannot be copied, such as a generator
        size = 0
    finally:
        states.restore()
    if not size:
        raise ValueError(
            f"no calibration batches were given, and none can be drawn: the batch sampler of the training set, a "
            f"{type(loader.batch_sampler).__name__}, has no batch_size, and none can be read off a copy of it; pass "
            "batches=[...]"
        )
    return size


def _parts(dataset: Any, chosen: list[int]) -> list[list[int]]:
    """Part the chosen examples by the data set that they are of, where several are put one after the other."""
    if not isinstance(dataset, ConcatDataset):
        return [chosen]
    # Each may have columns of its own, and samplers keep them apart then: no batch may mix them.
    ends = dataset.cumulative_sizes
    parts = [[place for place in chosen if bisect_right(ends, place) == part] for part in range(len(ends))]
    return [part for part in parts if part]


def _own_copy(collate: Any, shared: Sequence[Any]) -> Any:
    """Copy a collator object; functions have no state, and a bound method may hold a whole trainer."""
    if not hasattr(collate, "__dict__") or hasattr(collate, "__code__") or hasattr(collate, "__func__"):
        return collate
    return copy.deepcopy(collate, {id(item): item for item in shared if item is not None})
