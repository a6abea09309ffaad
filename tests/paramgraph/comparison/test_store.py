import json

import pytest

from paramgraph.comparison._store import FILE, ComparisonStore

IDENTITY = {"seeds": [0], "model": "one"}


def layer(name, **more):
    return {"layer": name, "failures": [], "cells": []} | more


def written(folder, *layers):
    store = ComparisonStore(folder, IDENTITY)
    for one in layers:
        store.append(one)
    return folder / FILE


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
    (tmp_path / FILE).write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match="it is no comparison"):
        ComparisonStore(tmp_path, IDENTITY)


@pytest.mark.parametrize("content", ['{"comparison": {"se', "\n", "text\n"])
def test_file_that_cannot_be_read_is_refused(tmp_path, content):
    (tmp_path / FILE).write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match="cannot be read: remove it"):
        ComparisonStore(tmp_path, IDENTITY)


def test_empty_file_is_begun_anew(tmp_path):
    (tmp_path / FILE).touch()
    assert ComparisonStore(tmp_path, IDENTITY).finished == {}
    assert list(ComparisonStore(tmp_path, IDENTITY).finished) == []


def test_what_json_changes_is_the_same_comparison(tmp_path):
    ComparisonStore(tmp_path, {"seeds": (0, 1)})
    assert ComparisonStore(tmp_path, {"seeds": [0, 1]}).finished == {}
