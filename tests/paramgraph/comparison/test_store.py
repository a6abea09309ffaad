import json
import math

import numpy as np
import pytest
import torch

from paramgraph.comparison import LAYERS_FILE, ComparisonStore, plain

IDENTITY = {"seeds": [0], "model": "one"}


def layer(name, **more):
    return {"layer": name, "failures": [], "cells": []} | more


def written(folder, *layers):
    store = ComparisonStore(folder, IDENTITY)
    for one in layers:
        store.append(one)
    return folder / LAYERS_FILE


def test_finished_layers_are_found_again(tmp_path):
    written(tmp_path, layer("a", share=1 / 3), layer("b"))
    assert ComparisonStore(tmp_path, IDENTITY).finished == {"a": layer("a", share=1 / 3), "b": layer("b")}


def test_each_layer_is_on_disk_as_soon_as_it_is_finished(tmp_path):
    store = ComparisonStore(tmp_path / "made" / "for it", IDENTITY)
    store.append(layer("a"))
    lines = store.path.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [{"comparison": IDENTITY}, layer("a")]


@pytest.mark.parametrize("cut", [1, 2, 10])
def test_last_line_that_was_cut_off_is_dropped_and_the_next_does_not_grow_onto_it(tmp_path, cut):
    file = written(tmp_path, layer("a"), layer("b"))
    file.write_bytes(file.read_bytes()[:-cut])
    store = ComparisonStore(tmp_path, IDENTITY)
    assert "a" in store.finished
    store.append(layer("c"))
    again = ComparisonStore(tmp_path, IDENTITY)
    # Without its end of line a line is whole.
    assert list(again.finished) == (["a", "b", "c"] if cut == 1 else ["a", "c"])


def test_of_a_layer_that_was_measured_again_the_last_line_counts_however_often_it_is_read(tmp_path):
    written(tmp_path, layer("a", failures=["once"]), layer("b"))
    written(tmp_path, layer("a", failures=["twice"]))
    written(tmp_path, layer("a"))
    for _ in range(3):
        assert ComparisonStore(tmp_path, IDENTITY).finished["a"] == layer("a")


def test_other_comparison_is_refused_by_what_differs_and_left_as_it_is(tmp_path):
    file = written(tmp_path, layer("a"))
    before = file.read_bytes()
    with pytest.raises(ValueError, match=r"of other seeds, share\): give another folder"):
        ComparisonStore(tmp_path, {"seeds": [1], "model": "one", "share": 0.2})
    assert file.read_bytes() == before


@pytest.mark.parametrize("content", ["[1]\n", '{"layer": "a"}\n', "3\n"])
def test_file_of_something_else_is_refused(tmp_path, content):
    (tmp_path / LAYERS_FILE).write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match="it is no comparison"):
        ComparisonStore(tmp_path, IDENTITY)


@pytest.mark.parametrize("content", ['{"comparison": {"se', "\n", "text\n"])
def test_file_that_cannot_be_read_is_refused(tmp_path, content):
    (tmp_path / LAYERS_FILE).write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match="cannot be read: remove it"):
        ComparisonStore(tmp_path, IDENTITY)


def test_empty_file_is_begun_anew(tmp_path):
    (tmp_path / LAYERS_FILE).touch()
    assert ComparisonStore(tmp_path, IDENTITY).finished == {}
    assert list(ComparisonStore(tmp_path, IDENTITY).finished) == []


def test_what_json_changes_is_the_same_comparison(tmp_path):
    ComparisonStore(tmp_path, {"seeds": (0, 1)})
    assert ComparisonStore(tmp_path, {"seeds": [0, 1]}).finished == {}


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
