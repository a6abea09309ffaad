"""Finished pieces on the disk: found again, damaged, of other work, on a full disk."""

import errno
import json
import math

import numpy as np
import pytest

from paramgraph import PerformanceWarning
from paramgraph.digests import text_digest
from paramgraph.finished_pieces import FinishedPieces

ASKED = {"seeds": [0], "model": "one"}
NAMES = ("a", "b", "c")
FILE = "sums.jsonl"


def opened(folder, asked=ASKED, **more):
    return FinishedPieces(folder / FILE, "addition", asked, **more)


def piece(name, **more):
    return {"piece": name} | more


def written(folder, *pieces):
    kept = opened(folder)
    for one in pieces:
        kept.append(one)
    return folder / FILE


def going_on(folder, *names):
    kept = opened(folder, may_fail=True)
    for name in names:
        kept.append(piece(name))


def found(folder):
    return [one["piece"] for one in opened(folder).found]


@pytest.mark.parametrize("cut", [2, 10, 100])
def test_last_line_that_was_cut_off_is_named_and_the_next_does_not_grow_onto_it(tmp_path, cut):
    file = written(tmp_path, piece("a"), piece("b"))
    file.write_bytes(file.read_bytes()[:-cut])
    with pytest.warns(PerformanceWarning, match=r"sums\.jsonl: line 3; what stood there is made again"):
        assert found(tmp_path) == ["a"]
    written(tmp_path, piece("c"))
    assert found(tmp_path) == ["a", "c"]


def test_last_line_without_its_end_is_whole(tmp_path):
    file = written(tmp_path, piece("a"), piece("b"))
    file.write_bytes(file.read_bytes()[:-1])
    written(tmp_path, piece("c"))
    assert found(tmp_path) == ["a", "b", "c"]


def flipped(content, at, bit):
    return content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :]


@pytest.mark.parametrize("place", np.linspace(0, 1, 60).round(3).tolist())
def test_flipped_bit_costs_the_line_that_it_is_in_and_names_it(tmp_path, place):
    file = written(tmp_path, *(piece(name, share=1 / 3) for name in NAMES))
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
    file = written(tmp_path, *(piece(name) for name in NAMES))
    lines = file.read_bytes().split(b"\n")
    lines[1], lines[3] = lines[1][:20], b"\xff" + lines[3]
    file.write_bytes(b"\n".join(lines))
    with pytest.warns(PerformanceWarning, match=r"line 2, 4;"):
        assert found(tmp_path) == ["b"]


def test_number_that_was_changed_by_hand_is_damage(tmp_path):
    file = written(tmp_path, piece("a", share=0.25))
    file.write_text(file.read_text(encoding="utf-8").replace("0.25", "0.26"), encoding="utf-8")
    with pytest.warns(PerformanceWarning, match="line 2"):
        assert found(tmp_path) == []


def test_other_work_is_refused_by_what_differs_and_left_as_it_is(tmp_path):
    file = written(tmp_path, piece("a"))
    before = file.read_bytes()
    with pytest.raises(ValueError, match=r"of other seeds, share\): give another folder"):
        opened(tmp_path, {"seeds": [1], "model": "one", "share": 0.2})
    assert file.read_bytes() == before


def test_what_differs_deep_inside_is_named_alone(tmp_path):
    opened(tmp_path, {"options": {"seed": 0, "steps": 3}, "model": "one"}).append(piece("a"))
    with pytest.raises(ValueError, match=r"another addition \(of other seed\)"):
        opened(tmp_path, {"options": {"seed": 1, "steps": 3}, "model": "one"})


def test_other_work_that_had_finished_nothing_is_not_in_the_way(tmp_path):
    opened(tmp_path, {"seeds": [1]})
    written(tmp_path, piece("a"))
    assert found(tmp_path) == ["a"]


EARLIER = '{"addition": {"seeds": [0]}}\n{"piece": "a", "failures": [], "cells": []}\n'


@pytest.mark.parametrize(
    "content",
    [b"[1]\n", b'{"piece": "a"}\n', b"3\n", b"\n", b"\xff\xfe", b'{"addition": {"se', EARLIER.encode()],
)
def test_what_cannot_be_read_at_all_is_put_aside_whole_and_said(tmp_path, content):
    (tmp_path / FILE).write_bytes(content)
    with pytest.warns(PerformanceWarning, match=r"cannot be read: it is put aside as sums\.unreadable"):
        assert found(tmp_path) == []
    assert (tmp_path / "sums.unreadable").read_bytes() == content
    written(tmp_path, piece("a"))
    assert found(tmp_path) == ["a"]
    (tmp_path / FILE).write_bytes(b"again")
    with pytest.warns(PerformanceWarning, match=r"put aside as sums\.unreadable1"):
        found(tmp_path)
    assert (tmp_path / "sums.unreadable").read_bytes() == content


def test_lines_of_other_work_whose_first_line_is_lost_are_put_aside_and_not_mixed(tmp_path):
    other = opened(tmp_path, {"seeds": [1]})
    other.append(piece("a"))
    other.path.write_bytes(b"?" + other.path.read_bytes())
    with pytest.warns(PerformanceWarning, match="put aside"):
        assert found(tmp_path) == []
    assert b'"a"' in (tmp_path / "sums.unreadable").read_bytes()


def test_empty_file_is_begun_anew(tmp_path):
    (tmp_path / FILE).touch()
    assert found(tmp_path) == []
    written(tmp_path, piece("a"))
    assert found(tmp_path) == ["a"]


@pytest.mark.parametrize("first", [[1], 3, "a"])
def test_other_work_that_says_nothing_of_what_was_asked_is_refused_all_the_same(tmp_path, first):
    content = json.dumps({"addition": first})
    digest = text_digest(content)
    (tmp_path / FILE).write_text(json.dumps({"addition": first, "checksum": digest}) + "\n")
    with pytest.raises(ValueError, match=r"another addition \(of other model, seeds\)"):
        opened(tmp_path)


@pytest.mark.parametrize("share", [math.nan, math.inf])
def test_what_no_line_can_hold_is_refused_before_the_work(tmp_path, share):
    with pytest.raises(ValueError, match="asked of the addition must be plain finite values"):
        opened(tmp_path, {"share": share})


def test_what_json_changes_is_the_same_work(tmp_path):
    opened(tmp_path, {"seeds": (0, 1)}).append(piece("a"))
    assert opened(tmp_path, {"seeds": [0, 1]}).found[0]["piece"] == "a"


def test_two_that_write_at_once_lose_nothing(tmp_path):
    stores = [opened(tmp_path) for _ in range(2)]
    for store, name in zip(stores * 2, "abcd", strict=True):
        store.append(piece(name))
        opened(tmp_path)
    assert found(tmp_path) == list("abcd")


def test_other_work_that_begins_meanwhile_is_not_mixed_in(tmp_path):
    late = [opened(tmp_path, {"seeds": [1]}, may_fail=may_fail) for may_fail in (False, True)]
    written(tmp_path, piece("a"))
    said = r"another addition \(of other model, seeds\) has begun there meanwhile"
    with pytest.raises(OSError, match=said):
        late[0].append(piece("b"))
    with pytest.warns(PerformanceWarning, match=said):
        late[1].append(piece("b"))
    assert (tmp_path / FILE).read_text().count("\n") == 2
    assert found(tmp_path) == ["a"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("where", ["pathlib.Path.mkdir", "pathlib.Path.open", "os.fsync"])
def test_where_nothing_can_be_written_work_ends_or_goes_on_and_what_was_kept_stays(
    tmp_path, monkeypatch, number, where
):
    def refuse(*arguments, **options):
        raise OSError(number, "refused")

    written(tmp_path, piece("a"))
    with monkeypatch.context() as patched:
        patched.setattr(where, refuse)
        with pytest.raises(OSError, match="the same goes on from them where there is room"):
            written(tmp_path, piece("b"))
        with pytest.warns(PerformanceWarning, match="finished pieces cannot be kept in") as said:
            going_on(tmp_path, "b", "c")
    assert len(said) == 1
    assert "a" in found(tmp_path)


def test_piece_that_could_not_be_kept_is_not_counted_as_kept(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise OSError(errno.ENOSPC, "refused")

    written(tmp_path, piece("a"))
    kept = opened(tmp_path)
    monkeypatch.setattr("os.fsync", refuse)
    for _ in range(2):
        with pytest.raises(OSError, match=r"those before, 1, stay"):
            kept.append(piece("b"))


def test_line_that_a_full_disk_cut_off_does_not_spoil_the_next(tmp_path):
    store = opened(tmp_path)
    store.append(piece("a"))
    with store.path.open("ab") as file:
        file.write(b'{"piece": "b", "cel')
    store.append(piece("c"))
    with pytest.warns(PerformanceWarning, match="line 3;"):
        assert found(tmp_path) == ["a", "c"]


def test_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="is a file: give a folder"):
        opened(tmp_path / "file")
