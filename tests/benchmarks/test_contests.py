"""Benchmarks in their smallest sizes, whose every run gives what its peers give; and what a record says of times."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import record as record_of
from benchmarks.contest import Contest, check, measure, one_thread
from benchmarks.groups import contests_of, group_names
from benchmarks.machine import Rates, measure_rates
from benchmarks.record import measure_groups, read, slopes

RATES = Rates({"float32": 1e10, "float64": 5e9}, 2e10)


@pytest.mark.parametrize("group", group_names())
def test_every_run_gives_what_its_peers_give(group: str) -> None:
    with one_thread():
        for contest in contests_of(group, "smallest"):
            check(contest)


class Clock:
    """Time that passes only where a run says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    __name__ = "made_up"

    def taking(self, *seconds: float) -> Callable[[], None]:
        turns = iter(seconds)
        last = seconds[-1]

        def run() -> None:
            self.now += next(turns, last)

        return run


def contest(runs: dict[str, Callable[[], object]], clock: Clock, **options: Any) -> Contest:
    return Contest("made up", {"nodes": 10}, runs, lambda found: {"recall": 0.98765}, clock=clock, **options)


def test_ratios_are_of_runs_beside_each_other() -> None:
    clock = Clock()
    # The first run is looked at and not timed; then the machine becomes half as fast for both.
    runs = {"ours": clock.taking(9, 1, 1, 2, 2), "peer": clock.taking(9, 2, 2, 4, 4)}
    found = measure(contest(runs, clock, turns=4, seconds=100), RATES)
    assert found["ratios"]["peer"] == {"median": 0.5, "low": 0.5, "high": 0.5, "turns": 4, "least": 0.5}
    assert found["times"]["ours"] == {"turns": 4, "median": 1.5, "mean": 1.5, "least": 1.0}
    assert found["checked"] == {"recall": 0.9877}


def test_a_peer_that_takes_long_is_timed_once_and_a_budget_ends_the_turns() -> None:
    clock = Clock()
    runs = {"ours": clock.taking(1.0), "slow": clock.taking(60.0), "near": clock.taking(2.0)}
    found = measure(contest(runs, clock, turns=50, seconds=10.0), RATES)
    assert found["ratios"]["slow"]["turns"] == 1
    assert found["ratios"]["slow"]["median"] == pytest.approx(1 / 60, rel=1e-3)
    assert found["ratios"]["near"]["turns"] == 4  # of three seconds each, the first after ten that is whole


def test_shares_take_the_plain_run_from_each_and_divide_by_the_whole() -> None:
    clock = Clock()
    runs = {"filter": clock.taking(0, 3, 3, 6), "plain": clock.taking(0, 1), "whole": clock.taking(0, 10)}
    found = measure(contest(runs, clock, turns=3, share_of=("plain", "whole")), RATES)
    assert found["ratios"] == {}
    assert found["shares"] == {
        "filter": {"median": 0.2, "low": 0.2, "high": 0.35, "turns": 3, "mean": 0.3, "least": 0.2}
    }


def test_shares_have_each_turn_of_a_run_that_takes_long() -> None:
    clock = Clock()
    runs = {
        "filter": clock.taking(1.0),
        "long": clock.taking(60.0),
        "plain": clock.taking(1.0),
        "whole": clock.taking(1.0),
    }
    found = measure(contest(runs, clock, turns=3, seconds=1000.0, share_of=("plain", "whole")), RATES)
    assert found["shares"]["long"]["turns"] == 3


def test_a_floor_is_the_longer_of_operations_and_bytes() -> None:
    clock = Clock()
    runs = {"ours": clock.taking(4.0)}
    found = measure(contest(runs, clock, turns=0, operations=1e10, precision="float64", traffic=2e10), RATES)
    assert found["floor"] == {"operations": 1e10, "bytes": 2e10, "seconds": 2.0, "share": 0.5}


def timed(name: str, seconds: float, **size: int) -> dict[str, Any]:
    return {"name": name, "size": size, "times": {"ours": {"least": seconds}}, "theory": {"nodes": 2}}


def test_slopes_are_the_powers_of_what_grows_alone() -> None:
    contests = [timed("graph", 1e-6 * n**2 * 64, nodes=n, width=64) for n in (100, 200, 800)]
    contests += [timed("graph", 1.0, nodes=50, width=w) for w in (8, 16)]
    (found,) = slopes(contests)
    assert (found["over"], found["at"], found["sizes"]) == ("nodes", {"width": 64}, [100, 200, 800])
    assert found["slope"] == found["last"] == found["theory"] == 2.0
    assert found["error"] == 0.0


def test_of_two_contests_of_one_size_the_shorter_time_counts() -> None:
    (found,) = slopes(timed("graph", seconds, nodes=n) for n, seconds in ((1, 1), (2, 4), (4, 16), (4, 17)))
    assert (found["sizes"], found["seconds"], found["last"]) == ([1, 2, 4], [1.0, 4.0, 16.0], 2.0)


def test_a_run_goes_on_with_the_groups_that_a_record_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, asked = tmp_path / "record.json", []

    def fake(name: str, brief: bool) -> dict[str, Any]:
        asked.append(name)
        return {"profile": "brief" if brief else "full", "contests": [], "load": [0.0, 0.0]}

    monkeypatch.setattr(record_of, "measure_group", fake)
    first, *others = group_names()
    assert list(measure_groups([first], path)) == [first]
    assert list(measure_groups(group_names(), path, go_on=True)) == others
    assert list(measure_groups([first], path)) == [first]
    assert asked == [first, *others, first]
    assert sorted(read(path)["groups"]) == group_names()
    # A brief look is no full one, and is measured again where that is asked for; a full one serves both.
    assert list(measure_groups([first], path, brief=True)) == [first]
    assert list(measure_groups(group_names(), path, go_on=True)) == [first]
    assert list(measure_groups(group_names(), path, go_on=True, brief=True)) == []
    with pytest.raises(ValueError, match="no group of benchmarks"):
        list(measure_groups(["graphs of fish"], path))


def test_a_record_of_other_versions_is_not_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text(json.dumps(record_of._empty() | {"versions": {"torch": "1.0"}}))
    with pytest.raises(ValueError, match=r"was measured with torch 1\.0"):
        list(measure_groups(group_names(), path, go_on=True))
    path.write_text("[]")
    with pytest.raises(ValueError, match="no record of benchmarks of schema 1"):
        read(path)


def test_rates_of_this_machine_are_numbers_above_zero() -> None:
    rates = measure_rates(rows=64, entries=2**12)
    assert all(rate > 0 for rate in (*rates.products.values(), rates.triad))
