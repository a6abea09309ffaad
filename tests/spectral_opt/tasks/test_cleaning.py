"""Cleaning counts all that it drops, and refuses what no split can use."""

import itertools
import json

import datasets
import pytest

from spectral_opt.errors import DataError
from spectral_opt.tasks import load_labelled_text, load_text


@pytest.fixture
def toy(tmp_path):
    """Write columns to a file of JSON lines, in which null is a missing value."""

    def write(**columns):
        path = tmp_path / "toy.jsonl"
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    return write


@pytest.fixture
def on_the_hub(monkeypatch):
    """Let the hub have one data set of the given splits."""

    def offer(**splits):
        monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: datasets.DatasetDict(splits))

    return offer


def test_everything_dropped_is_counted_under_one_reason(toy):
    rows = [("a", "x"), (" a ", "x"), ("b", "x"), ("b", "y"), (None, "x"), ("  ", "y"), ("c", None)]
    rows += [("d", "x"), ("e", "y"), ("f", "y")]
    texts, labels = zip(*rows, strict=True)
    data = load_labelled_text(toy(text=texts, label=labels))
    assert data.texts == ("a", "d", "e", "f")
    assert data.labels.tolist() == [0, 0, 1, 1]
    assert data.provenance.rows_read == 10
    expected = {"duplicate text": 1, "text with several labels": 2, "empty text": 2, "no label": 1}
    assert dict(data.provenance.dropped) == expected


def test_a_duplicate_of_an_unlabelled_row_is_kept(toy):
    data = load_labelled_text(toy(text=["a", "a", "b", "c", "d"], label=[None, "x", "x", "y", "y"]))
    assert data.texts == ("a", "b", "c", "d")


def test_groups_follow_their_rows(toy):
    path = toy(
        text=["a", "b", "a", "c", "d"], label=["x", "y", "x", "x", "y"], film=["f", "g", "h", "i", "j"]
    )
    data = load_labelled_text(path, group_column="film")
    assert data.texts == ("a", "b", "c", "d")
    assert data.groups == ("f", "g", "i", "j")


def test_the_shipped_split_follows_its_rows_and_test_rows_go_first(on_the_hub):
    on_the_hub(
        train=datasets.Dataset.from_dict({"text": ["a", "c", "d"], "label": ["x", "x", "y"]}),
        test=datasets.Dataset.from_dict({"text": ["a", "b"], "label": ["x", "y"]}),
    )
    data = load_labelled_text("owner/name")
    assert data.texts == ("a", "b", "c", "d")
    assert data.shipped_split == ("test", "test", "train", "train")


@pytest.mark.parametrize(
    ("labels", "names"),
    [(["10", "9", "10", "9"], ("9", "10")), ([1, 0, 1, 0], ("0", "1")), (["b", "a", "b", "a"], ("a", "b"))],
)
def test_label_names_are_sorted_numbers_by_value(toy, labels, names):
    data = load_labelled_text(toy(text=["p", "q", "r", "s"], label=labels))
    assert data.label_names == names
    assert data.labels.tolist() == [1, 0, 1, 0]


def test_given_label_names_keep_their_order_and_hidden_labels_are_missing(on_the_hub):
    features = datasets.Features(
        text=datasets.Value("string"), label=datasets.ClassLabel(names=["pos", "neg"])
    )
    rows = {"text": ["p", "q", "r", "s", "t"], "label": [1, 0, 1, 0, -1]}
    on_the_hub(train=datasets.Dataset.from_dict(rows, features=features))
    data = load_labelled_text("owner/name")
    assert data.class_counts() == {"pos": 2, "neg": 2}
    assert data.labels.tolist() == [1, 0, 1, 0]
    assert dict(data.provenance.dropped) == {"no label": 1}


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
def test_a_data_set_that_cannot_be_used_is_one_clear_line(toy, texts, labels, message):
    with pytest.raises(DataError, match=message) as raised:
        load_labelled_text(toy(text=texts, label=labels))
    assert "\n" not in str(raised.value)


def test_no_unlabelled_text_is_an_error(toy):
    with pytest.raises(DataError, match="is empty"):
        load_text(toy(text=[]))


@pytest.mark.parametrize("names", list(itertools.permutations(("nan", "1", "10", "2"))))
def test_a_class_named_nan_does_not_shuffle_the_others(toy, names):
    texts = [f"{name} {i}" for name in names for i in range(2)]
    labels = [name for name in names for _ in range(2)]
    assert load_labelled_text(toy(text=texts, label=labels)).label_names == ("1", "2", "10", "nan")
