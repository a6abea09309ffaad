"""One thing to do, the runs that do it, and their times taken in turn."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from threadpoolctl import threadpool_limits

from benchmarks.machine import Rates

# Peers that take so many times as long as ours, and that long, are timed once: a ratio of 30 needs no spread.
TIMES_AS_LONG, LONG = 5.0, 1.0
LEAST_TURNS = 3
# "smallest": for tests, which look at results alone. "brief": once each, without spread, and without what takes most of
# the time. "full": what stands in the manual.
Profile = Literal["smallest", "brief", "full"]


@dataclass(frozen=True)
class Contest:
    """Runs of the same thing on one input, ours first; `check` looks at what each gave before any is timed.

    What `check` gives, such as a recall, stands in the record. All runs are timed in turn, forwards and backwards, at
    most `turns` times or until ours and the peers have taken `seconds`; at 0 turns the runs that were checked are those
    that are timed. `size` is what the time grows with, and `theory` the powers that it should grow with. `goals` are
    the largest ratios to peers that are aimed at. `operations` and `traffic`, in bytes, no way of doing it does
    without. `share_of` names two runs, the plain one and a whole: of each other run, what it takes beyond the plain one
    is told as a share of the whole. `left_out` has peers that do not run, and why.
    """

    name: str
    size: Mapping[str, int]
    runs: Mapping[str, Callable[[], object]]
    check: Callable[[Mapping[str, Any]], Mapping[str, float] | None]
    turns: int = 20
    seconds: float = 2.0
    theory: Mapping[str, float] = field(default_factory=dict)
    goals: Mapping[str, float] = field(default_factory=dict)
    operations: float = 0.0
    precision: str = "float32"
    traffic: float = 0.0
    share_of: tuple[str, str] | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)
    clock: Callable[[], float] = time.process_time


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch, BLAS and OpenMP on one thread each."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(threads)


def check(contest: Contest) -> tuple[dict[str, float], dict[str, float]]:
    """Run everything once and look at the results: what the check gives, and the times of the first runs."""
    results, first = {}, {}
    for name, run in contest.runs.items():
        started = contest.clock()
        results[name] = run()
        first[name] = contest.clock() - started
    return dict(contest.check(results) or {}), first


def measure(contest: Contest, rates: Rates, brief: bool = False) -> dict[str, Any]:
    """Check a contest, time its runs in turn, and put what was found into plain numbers.

    A `brief` look times each run once after the one that was checked.
    """
    checked, first = check(contest)
    contest = replace(contest, turns=min(contest.turns, 1)) if brief else contest
    ours, *peers = contest.runs
    long = {name for name in peers if first[name] > LONG and first[name] > TIMES_AS_LONG * first[ours]}
    once = set() if contest.share_of else long  # shares are of runs side by side, turn by turn
    times = {name: [first[name]] if name in once or not contest.turns else [] for name in contest.runs}
    begun = contest.clock()
    for turn in range(contest.turns):
        for name in list(contest.runs)[:: -1 if turn % 2 else 1]:
            if name not in once:
                started = contest.clock()
                contest.runs[name]()
                times[name].append(contest.clock() - started)
        if turn + 1 >= LEAST_TURNS and contest.clock() - begun > contest.seconds:
            break
    return {
        "name": contest.name,
        "size": dict(contest.size),
        "clock": contest.clock.__name__,
        "times": {
            name: {
                "turns": len(found),
                "median": digits(statistics.median(found)),
                "mean": digits(statistics.fmean(found)),
                "least": digits(min(found)),
            }
            for name, found in times.items()
        },
        "ratios": {} if contest.share_of else {peer: _ratio(times[ours], times[peer]) for peer in peers},
        "shares": _shares(times, *contest.share_of) if contest.share_of else {},
        "goals": dict(contest.goals),
        "theory": dict(contest.theory),
        "checked": {name: digits(value) for name, value in checked.items()},
        "floor": _floor(contest, min(times[ours]), rates),
        "left_out": dict(contest.left_out),
    }


def spread(values: list[float]) -> dict[str, float]:
    """Give the median and the quartiles; of fewer than three values the least and the largest."""
    low, _, high = (
        statistics.quantiles(values, n=4, method="inclusive")
        if len(values) > 2
        else (
            min(values),
            0.0,
            max(values),
        )
    )
    return {
        "median": digits(statistics.median(values)),
        "low": digits(low),
        "high": digits(high),
        "turns": len(values),
    }


def digits(value: float) -> float:
    """Keep four digits: no time is known better."""
    return float(f"{value:.4g}")


def _ratio(ours: list[float], theirs: list[float]) -> dict[str, float]:
    """Divide turn by turn; a peer that was timed once stands below each of our times."""
    other = theirs * len(ours) if len(theirs) == 1 else theirs
    pairs = [one / max(two, 1e-9) for one, two in zip(ours, other, strict=True)]
    return spread(pairs) | {"turns": len(theirs), "least": digits(min(ours) / max(min(theirs), 1e-9))}


def _shares(times: Mapping[str, list[float]], plain: str, whole: str) -> dict[str, dict[str, float]]:
    """Take from each run the plain one beside it, over the whole one beside it.

    The mean is of all turns: what is done in every tenth of them counts as a tenth.
    """
    found = {}
    for name, own in times.items():
        if name not in (plain, whole):
            turns = list(zip(own, times[plain], times[whole], strict=True))
            mean = (statistics.fmean(own) - statistics.fmean(times[plain])) / statistics.fmean(times[whole])
            least = (min(own) - min(times[plain])) / min(times[whole])
            found[name] = spread([(one - two) / all_ for one, two, all_ in turns]) | {
                "mean": digits(mean),
                "least": digits(least),
            }
    return found


def _floor(contest: Contest, seconds: float, rates: Rates) -> dict[str, float]:
    """Say how long the operations and the bytes alone take at the rates of the machine, and what share that is."""
    if not contest.operations and not contest.traffic:
        return {}
    least = max(contest.operations / rates.products[contest.precision], contest.traffic / rates.triad)
    return {
        "operations": digits(contest.operations),
        "bytes": digits(contest.traffic),
        "seconds": digits(least),
        "share": digits(least / seconds),
    }
