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


@pytest.mark.parametrize("cut", [2, 10, 100])
def test_last_line_that_was_cut_off_is_named_and_the_next_does_not_grow_onto_it(tmp_path, cut):
    file = written(tmp_path, layer("a"), layer("b"))
    file.write_bytes(file.read_bytes()[:-cut])
    with pytest.warns(PerformanceWarning, match=r"layers\.jsonl: line 3; what stood there is measured again"):
        assert found(tmp_path) == ["a"]
    written(tmp_path, layer("c"))
    assert found(tmp_path) == ["a", "c"]


def test_last_line_without_its_end_is_whole(tmp_path):
    file = written(tmp_path, layer("a"), layer("b"))
    file.write_bytes(file.read_bytes()[:-1])
    written(tmp_path, layer("c"))
    assert found(tmp_path) == ["a", "b", "c"]


def flipped(content, at, bit):
    return content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :]


@pytest.mark.parametrize("place", np.linspace(0, 1, 60).round(3).tolist())
def test_flipped_bit_costs_the_line_that_it_is_in_and_names_it(tmp_path, place):
    file = written(tmp_path, *(layer(name, share=1 / 3) for name in NAMES))
    content = file.read_bytes()
    at = min(int(place * len(content)), len(content) - 1)
    number = content[:at].count(b"\n") + 1
    for bit in (0, 3, 6):
        file.write_bytes(flipped(content, at, bit))
        with pytest.warns(PerformanceWarning, match=rf"damaged in .*: line (\d, )?{number}\b"):
            left = found(tmp_path)
        # Line 1 says what was asked, and each of the others as well; a lost end of line joins two.
        lost = {number - 2, number - 1 if content[at] == 10 else number - 2}
        assert left == [name for place, name in enumerate(NAMES) if place not in lost]
        assert found(tmp_path) == left


def test_many_damages_are_all_named(tmp_path):
    file = written(tmp_path, *(layer(name) for name in NAMES))
    lines = file.read_bytes().split(b"\n")
    lines[1], lines[3] = lines[1][:20], b"\xff" + lines[3]
    file.write_bytes(b"\n".join(lines))
    with pytest.warns(PerformanceWarning, match=r"line 2, 4;"):
        assert found(tmp_path) == ["b"]


def test_number_that_was_changed_by_hand_is_damage(tmp_path):
    file = written(tmp_path, layer("a", share=0.25))
    file.write_text(file.read_text(encoding="utf-8").replace("0.25", "0.26"), encoding="utf-8")
    with pytest.warns(PerformanceWarning, match="line 2"):
        assert found(tmp_path) == []


def test_other_comparison_is_refused_by_what_differs_and_left_as_it_is(tmp_path):
    file = written(tmp_path, layer("a"))
    before = file.read_bytes()
    with pytest.raises(ValueError, match=r"of other seeds, share\): give another folder"):
        ComparisonStore(tmp_path, {"seeds": [1], "model": "one", "share": 0.2})
    assert file.read_bytes() == before


EARLIER = '{"comparison": {"seeds": [0]}}\n{"layer": "a", "failures": [], "cells": []}\n'


@pytest.mark.parametrize(
    "content",
    [b"[1]\n", b'{"layer": "a"}\n', b"3\n", b"\n", b"\xff\xfe", b'{"comparison": {"se', EARLIER.encode()],
)
def test_what_cannot_be_read_at_all_is_put_aside_whole_and_said(tmp_path, content):
    (tmp_path / LAYERS_FILE).write_bytes(content)
    with pytest.warns(PerformanceWarning, match=r"cannot be read: it is put aside as layers\.unreadable"):
        assert found(tmp_path) == []
    assert (tmp_path / "layers.unreadable").read_bytes() == content
    written(tmp_path, layer("a"))
    assert found(tmp_path) == ["a"]
    (tmp_path / LAYERS_FILE).write_bytes(b"again")
    with pytest.warns(PerformanceWarning, match=r"put aside as layers\.unreadable1"):
        found(tmp_path)
    assert (tmp_path / "layers.unreadable").read_bytes() == content


def test_lines_of_another_comparison_whose_first_line_is_lost_are_put_aside_and_not_mixed(tmp_path):
    other = ComparisonStore(tmp_path, {"seeds": [1]})
    other.append(layer("a"), CONTENTS)
    other.path.write_bytes(b"?" + other.path.read_bytes())
    with pytest.warns(PerformanceWarning, match="put aside"):
        assert found(tmp_path) == []
    assert b'"a"' in (tmp_path / "layers.unreadable").read_bytes()


def test_empty_file_is_begun_anew(tmp_path):
    (tmp_path / LAYERS_FILE).touch()
    assert found(tmp_path) == []
    written(tmp_path, layer("a"))
    assert found(tmp_path) == ["a"]


def test_what_json_changes_is_the_same_comparison(tmp_path):
    ComparisonStore(tmp_path, {"seeds": (0, 1)})
    assert ComparisonStore(tmp_path, {"seeds": [0, 1]}).find("a", CONTENTS) is None


def test_two_that_write_at_once_lose_nothing(tmp_path):
    stores = [ComparisonStore(tmp_path, ASKED) for _ in range(2)]
    for store, name in zip(stores * 2, "abcd", strict=True):
        store.append(layer(name), CONTENTS)
        ComparisonStore(tmp_path, ASKED)
    assert found(tmp_path, *"abcd") == list("abcd")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("where", ["pathlib.Path.mkdir", "pathlib.Path.open", "os.fsync"])
def test_folder_that_cannot_be_written_costs_the_keeping_alone_and_is_said_once(
    tmp_path, monkeypatch, number, where
):
    def refuse(*arguments, **options):
        raise OSError(number, "refused")

    written(tmp_path, layer("a"))
    with monkeypatch.context() as patched:
        patched.setattr(where, refuse)
        with pytest.warns(PerformanceWarning, match="finished layers cannot be kept in") as said:
            written(tmp_path, layer("b"), layer("c"))
    assert len(said) == 1
    assert "a" in found(tmp_path)


def test_line_that_a_full_disk_cut_off_does_not_spoil_the_next(tmp_path):
    store = ComparisonStore(tmp_path, ASKED)
    store.append(layer("a"), CONTENTS)
    with store.path.open("ab") as file:
        file.write(b'{"layer": "b", "cel')
    store.append(layer("c"), CONTENTS)
    with pytest.warns(PerformanceWarning, match="line 3;"):
        assert found(tmp_path) == ["a", "c"]


def test_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="is a file: give a folder"):
        ComparisonStore(tmp_path / "file", ASKED)


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
