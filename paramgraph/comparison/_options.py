"""What may be asked of a comparison, checked before any work."""

from collections.abc import Mapping, Sequence
from typing import Any

from paramgraph._checks import is_whole
from paramgraph.comparison._measurement import MeasurementOptions
from paramgraph.errors import UnknownNameError
from paramgraph.measures import band_edges
from paramgraph.sources import SOURCES, as_source

NULLS = ("permuted", "rotated", "random")
SHIFTS = ("auto", "laplacian", "adjacency")


def check_comparison(options: MeasurementOptions, seeds: Sequence[Any]) -> None:
    """Refuse what cannot be measured.

    Parameters
    ----------
    options : MeasurementOptions
        How to measure.
    seeds : sequence of int
        Draws.

    Raises
    ------
    ValueError
        If bands do not rise from 0 to 1, a share is out of its range, a number is too small, a seed comes twice, or
        there is none.
    UnknownNameError
        If there is no such null model.
    TypeError
        If a seed is no integer.

    Examples
    --------
    >>> check_comparison(MeasurementOptions(nulls=("permutation",)), [0])
    Traceback (most recent call last):
    ...
    paramgraph.errors.UnknownNameError: no null model named 'permutation'; did you mean 'permuted'? ...
    """
    band_edges(1, options.bands)
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
    if len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise ValueError(f"seeds are different integers, 0 or larger; got {list(seeds)}")


def choose_signal(signal: str, sources: Mapping[str, Any], has_batches: bool, has_tuned: bool) -> str:
    """Decide what is measured on the graphs, and see that everything for it is there.

    Parameters
    ----------
    signal : str
        "auto", or the name of a source that may be a signal.
    sources : mapping of str to source
        What graphs are built from, by name.
    has_batches, has_tuned : bool
        What was given.

    Returns
    -------
    str
        The name of a source.

    Raises
    ------
    UnknownNameError
        If there is no such signal.
    ValueError
        If the signal or a source needs batches or a tuned model that are not there.

    Examples
    --------
    >>> choose_signal("auto", {"weights": "weights"}, has_batches=False, has_tuned=True)
    'updates'
    """
    check_signal(signal)
    if signal == "auto":
        signal = "gradients" if has_batches else "updates" if has_tuned else "weights"
    asked = {name: as_source(source) for name, source in sources.items()} | {signal: SOURCES[signal]}
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


def check_signal(signal: str) -> None:
    """Refuse what is neither "auto" nor a source that may be measured on graphs; UnknownNameError names those."""
    known = ("auto", *(name for name, source in SOURCES.items() if source.is_signal))
    if signal not in known:
        raise UnknownNameError.among("signal", signal, known)
