import errno
import json
import math

import numpy as np
import pytest
import torch

from paramgraph import PerformanceWarning
from paramgraph.comparison import LAYERS_FILE, ComparisonStore, plain

ASKED = {"seeds": [0], "model": "one"}
CONTENTS = {"weights": "abc"}
NAMES = ("a", "b", "c")


def layer(name, **more):
    return {"layer": name, "failures": [], "cells": []} | more


def written(folder, *layers):
    store = ComparisonStore(folder, ASKED)
    for one in layers:
        store.append(one, CONTENTS)
    return folder / LAYERS_FILE


def found(folder, *names, contents=CONTENTS):
    store = ComparisonStore(folder, ASKED)
    return [name for name in names or NAMES if store.find(name, contents)]


def test_finished_layers_are_found_again(tmp_path):
    written(tmp_path, layer("a", share=1 / 3), layer("b"))
    assert found(tmp_path) == ["a", "b"]
    assert ComparisonStore(tmp_path, ASKED).find("a", CONTENTS)["share"] == 1 / 3


def test_each_layer_is_on_disk_as_soon_as_it_is_finished(tmp_path):
    store = ComparisonStore(tmp_path / "made" / "for it", ASKED)
    for count, name in enumerate(NAMES, start=1):
        store.append(layer(name), CONTENTS)
        lines = [json.loads(line) for line in store.path.read_text(encoding="utf-8").splitlines()]
        assert lines[0]["comparison"] == ASKED
        assert [line["layer"] for line in lines[1:]] == list(NAMES[:count])


def test_layer_is_found_by_what_it_was_made_from_whichever_came_last(tmp_path):
    store = ComparisonStore(tmp_path, ASKED)
    for weights in ("abc", "def"):
        store.append(layer("a", of=weights), {"weights": weights})
    for weights in ("abc", "def"):
        assert store.find("a", {"weights": weights})["of"] == weights
    for other in ({"weights": "ghi"}, {"weights": "abc", "loss": "x"}, {}, None):
        assert store.find("a", other) is None


def test_layer_whose_contents_are_not_known_is_kept_and_never_found(tmp_path):
    store = ComparisonStore(tmp_path, ASKED)
    store.append(layer("a"), None)
    assert store.find("a", None) is None
    assert found(tmp_path) == []


def test_layer_in_which_something_failed_is_not_found(tmp_path):
    written(tmp_path, layer("a", failures=["once"]), layer("b"))
    assert found(tmp_path) == ["b"]
    written(tmp_path, layer("a"))
    for _ in range(2):
        assert found(tmp_path) == ["a", "b"]


def test_disk_without_room_costs_the_keeping_alone(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise OSError(errno.ENOSPC, "refused")

    monkeypatch.setattr("os.fsync", refuse)
    with pytest.warns(PerformanceWarning, match="finished layers cannot be kept in"):
        written(tmp_path, layer("b"))


def test_values_without_a_number_are_none():
    assert plain([math.nan, math.inf, -math.inf, np.float64("nan"), torch.tensor(math.nan)]) == [None] * 5


def test_floats_keep_six_digits_and_integers_all():
    assert plain({"a": 123456.789, "b": 1.23456789e-12, "c": 123456789}) == {
        "a": 123457.0,
        "b": 1.23457e-12,
        "c": 123456789,
    }


def test_all_digits_are_kept_where_asked_for():
    assert plain((1 / 3,), None) == [1 / 3]


def test_rounding_twice_changes_nothing():
    values = np.random.default_rng(0).standard_normal(100)
    assert plain(plain(values)) == plain(values)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.int64(3), 3),
        (np.bool_(True), True),
        (True, True),
        (np.zeros((2, 1)), [[0.0], [0.0]]),
        (torch.ones(2, dtype=torch.bfloat16), [1.0, 1.0]),
        ({1: (np.float32(0.5), None)}, {"1": [0.5, None]}),
        ({}, {}),
    ],
)
def test_arrays_and_scalars_become_what_json_holds(value, expected):
    assert plain(value) == expected
    json.dumps(plain(value), allow_nan=False)


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes", 1j])
def test_other_values_are_refused_by_their_type(value):
    with pytest.raises(TypeError, match=type(value).__name__):
        plain([value])
