"""Cleaning counts all that it drops, and refuses what no split can use."""

import itertools

import numpy as np
import pytest

from spectral_opt.errors import DataError
from spectral_opt.tasks._cleaning import Table, _by_value, clean_labelled, clean_unlabelled


def table(texts, labels=None, **columns):
    given = {"text": texts, **({} if labels is None else {"label": labels}), **columns}
    return Table("toy", "toy.csv", given)


def test_everything_dropped_is_counted_under_one_reason():
    rows = [("a", "x"), (" a ", "x"), ("b", "x"), ("b", "y"), (None, "x"), ("  ", "y"), ("c", None)]
    rows += [("d", "x"), ("e", "y"), ("f", "y")]
    data = clean_labelled(table(*map(list, zip(*rows, strict=True))))
    assert data.texts == ("a", "d", "e", "f")
    assert data.labels.tolist() == [0, 0, 1, 1]
    assert data.provenance.rows_read == 10
    expected = {"duplicate text": 1, "text with several labels": 2, "empty text": 2, "no label": 1}
    assert dict(data.provenance.dropped) == expected


def test_a_duplicate_of_an_unlabelled_row_is_kept():
    data = clean_labelled(table(["a", "a", "b", "c", "d"], [None, "x", "x", "y", "y"]))
    assert data.texts == ("a", "b", "c", "d")


def test_columns_follow_their_rows():
    columns = {"group": ["f", "g", "h", "i", "j"], "split": ["test", "test", "train", "train", "train"]}
    data = clean_labelled(table(["a", "b", "a", "c", "d"], ["x", "y", "x", "x", "y"], **columns))
    assert data.groups == ("f", "g", "i", "j")
    assert data.shipped_split == ("test", "test", "train", "train")


@pytest.mark.parametrize(
    ("labels", "names"),
    [(["10", "9", "10", "9"], ("9", "10")), ([1, 0, 1, 0], ("0", "1")), (["b", "a", "b", "a"], ("a", "b"))],
)
def test_label_names_are_sorted_numbers_by_value(labels, names):
    data = clean_labelled(table(["p", "q", "r", "s"], labels))
    assert data.label_names == names
    assert data.labels.tolist() == [1, 0, 1, 0]


def test_given_label_names_keep_their_order():
    rows = {"text": ["p", "q", "r", "s"], "label": ["neg", "pos", "neg", "pos"]}
    data = clean_labelled(Table("toy", "toy", rows, label_names=("pos", "neg")))
    assert data.class_counts() == {"pos": 2, "neg": 2}
    assert data.labels.tolist() == [1, 0, 1, 0]


@pytest.mark.parametrize(
    ("texts", "labels", "message"),
    [
        ([], [], "'toy' is empty"),
        (["", " "], ["x", "y"], "'toy' is empty: .*2 rows read, 2 dropped"),
        (["a", "b"], ["x", "x"], "one class, 'x': a classifier needs at least two"),
        (["a", "b", "c"], ["x", "x", "y"], r"1 of 2 labels .* fewer than two examples: 'y' \(1\)"),
    ],
    ids=["empty", "only empty texts", "one class", "label with one example"],
)
def test_a_data_set_that_cannot_be_used_is_one_clear_line(texts, labels, message):
    with pytest.raises(DataError, match=message) as raised:
        clean_labelled(table(texts, labels))
    assert "\n" not in str(raised.value)


def test_unlabelled_texts_carry_their_metadata():
    data = clean_unlabelled(table(["a", "a", "", "b"], year=[1790, 1791, 1792, 1793]))
    assert data.texts == ("a", "b")
    assert data.metadata == {"year": (1790, 1793)}
    assert dict(data.provenance.dropped) == {"duplicate text": 1, "empty text": 1}


def test_no_unlabelled_text_is_an_error():
    with pytest.raises(DataError, match="is empty"):
        clean_unlabelled(table([]))


@pytest.mark.parametrize("names", list(itertools.permutations(("nan", "1", "10", "2"))))
def test_a_class_named_nan_does_not_shuffle_the_others(names):
    columns = {
        "text": [f"{name} {i}" for name in names for i in range(2)],
        "label": np.repeat(names, 2).tolist(),
    }
    assert sorted(names, key=_by_value) == ["1", "2", "10", "nan"]
    assert clean_labelled(Table("t", "t", columns)).label_names == ("1", "2", "10", "nan")
