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


def test_groups_that_look_alike_are_one_and_blank_ones_are_kept_together_and_said(toy):
    path = toy(
        text=["a", "b", "c", "d", "e"], label=["x", "y", "x", "y", "x"], film=["f", "f ", "\u00a0f", None, ""]
    )
    data = load_labelled_text(path, group_column="film")
    assert data.groups == ("f", "f", "f", "", "")
    assert data.provenance.notes == ("texts without a group, which a split keeps together as one: 2",)


@pytest.mark.parametrize("missing", [None, "NaN", "null"])
def test_a_group_that_is_missing_has_no_name(toy, missing):
    path = toy(text=list("abcd"), label=list("xyxy"), film=["f", missing, "g", missing])
    data = load_labelled_text(path, group_column="film")
    assert data.groups == ("f", "", "g", "")
    assert data.provenance.notes == ("texts without a group, which a split keeps together as one: 2",)


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


@pytest.mark.parametrize("names", list(itertools.permutations(("inf", "1", "10", "2"))))
def test_a_class_named_as_no_finite_number_does_not_shuffle_the_others(toy, names):
    texts = [f"{name} {i}" for name in names for i in range(2)]
    labels = [name for name in names for _ in range(2)]
    assert load_labelled_text(toy(text=texts, label=labels)).label_names == ("1", "2", "10", "inf")


def numbered(labels):
    return {"text": [f"text {place}" for place in range(len(labels))], "label": labels}


@pytest.mark.parametrize(
    "blank", ["", " ", "\t", "\n", "\u00a0", "\u2003", "\ufeff", "\u200b", "\u2060 ", "\u200e"], ids=ascii
)
def test_a_label_of_nothing_that_can_be_seen_is_no_label(toy, blank):
    data = load_labelled_text(toy(**numbered(["pos", "neg", blank, "pos", "neg", blank])))
    assert data.class_counts() == {"neg": 2, "pos": 2}
    assert dict(data.provenance.dropped) == {"no label": 2}


@pytest.mark.parametrize("word", ["nan", "NaN", " nan", "null", "NULL", "<NA>", "NaT", "#N/A", "\\N"])
def test_what_programs_write_for_a_missing_value_is_no_class_and_is_counted(toy, word):
    data = load_labelled_text(toy(**numbered(["pos", "neg", word, "pos", "neg", word])))
    assert data.class_counts() == {"neg": 2, "pos": 2}
    ((reason, count),) = data.provenance.dropped.items()
    assert (reason, count) == (f"label {word.strip().casefold()!r}, which stands for none", 2)


def test_a_missing_number_is_no_label(toy):
    data = load_labelled_text(toy(**numbered([1.0, 0.0, float("nan"), 1.0, 0.0])))
    assert data.class_counts() == {"0.0": 2, "1.0": 2}
    assert dict(data.provenance.dropped) == {"no label": 1}


@pytest.mark.parametrize(
    "written",
    [" neg", "neg ", "\tneg", "neg\u00a0", "\ufeffneg", "n\u200beg", "n\u00adeg", "\u202aneg\u202c", "neg\0"],
    ids=ascii,
)
def test_labels_that_look_alike_are_one_class_and_that_is_said(toy, written):
    data = load_labelled_text(toy(**numbered(["pos", "neg", "pos", "neg", written])))
    assert data.class_counts() == {"neg": 3, "pos": 2}
    assert data.provenance.notes == (
        "labels from which white space, invisible characters or another Unicode form were taken: 1",
    )


def test_one_word_in_two_unicode_forms_is_one_class(toy):
    data = load_labelled_text(toy(**numbered(["caf\u00e9", "cafe\u0301", "th\u00e9", "th\u00e9"])))
    assert data.class_counts() == {"caf\u00e9": 2, "th\u00e9": 2}


@pytest.mark.parametrize(
    "pair",
    [
        ("Neg", "neg"),
        ("1", "1.0"),
        ("0", "00"),
        ("\uff4eeg", "neg"),
        ("neg\u200d", "neg"),
        ("not_neg", "not neg"),
    ],
    ids=ascii,
)
def test_labels_that_differ_in_case_or_digits_stay_classes_and_are_named(toy, pair):
    data = load_labelled_text(toy(**numbered([*pair, "pos", *pair, "pos"])))
    assert len(data.label_names) == 3
    (note,) = data.provenance.notes
    assert note.startswith("labels that differ only in how they are written count as classes of their own")
    assert all(f"{name!r} (2)" in note for name in pair)


def test_a_rare_spelling_of_a_class_is_named_where_it_is_refused(toy):
    with pytest.raises(DataError, match=r"fewer than two examples: 'Neg' \(1\).*differ only in how they are"):
        load_labelled_text(toy(**numbered(["neg", "pos", "neg", "pos", "Neg"])))


@pytest.mark.parametrize("word", ["None", "NA", "n/a", "?", "--", "undefined", "-1"])
def test_a_word_that_may_be_a_class_stays_one_and_that_is_said(toy, word):
    data = load_labelled_text(toy(**numbered(["pos", word, "pos", word])))
    assert word in data.label_names
    (note,) = data.provenance.notes
    assert note.startswith(f"the label {word!r} (2 texts) counts as a class")


@pytest.mark.parametrize("labels", [[0, 1, -1], ["0", "1", "-1"], [0.0, 1.0, -1.0], [1, 2, 3, -1], [0, -1]])
def test_a_minus_one_that_may_be_a_class_or_none_is_refused(toy, labels):
    with pytest.raises(DataError, match="-1 may be a class, or stand for no label, and nothing here tells"):
        load_labelled_text(toy(**numbered(labels * 2)))


@pytest.mark.parametrize("labels", [[1, -1], [-2, -1, 0, 1, 2], ["-1", "good"]])
def test_a_minus_one_that_can_only_be_a_class_is_one(toy, labels):
    assert len(load_labelled_text(toy(**numbered(labels * 2))).label_names) == len(labels)


def test_hidden_labels_of_a_part_are_no_reason_to_refuse_the_rest(on_the_hub):
    features = datasets.Features(text=datasets.Value("string"), label=datasets.ClassLabel(names=["a", "b"]))
    train = datasets.Dataset.from_dict(numbered([0, 1, 0, 1]), features=features)
    hidden = {"text": ["p", "q"], "label": [-1, -1]}
    on_the_hub(train=train, test=datasets.Dataset.from_dict(hidden, features=features))
    data = load_labelled_text("owner/name")
    assert data.class_counts() == {"a": 2, "b": 2}
    assert set(data.shipped_split) == {"train"}


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_missing_numbers_of_the_hub_are_no_labels(on_the_hub, missing):
    labels = [1.0, 0.0, missing, 1.0, 0.0]
    features = datasets.Features(text=datasets.Value("string"), label=datasets.Value("float64"))
    on_the_hub(train=datasets.Dataset.from_dict(numbered(labels), features=features))
    data = load_labelled_text("owner/name")
    assert data.class_counts() == {"0.0": 2, "1.0": 2}
    assert dict(data.provenance.dropped) == {"no label": 1}


def test_declared_classes_are_tidied_with_their_labels_and_one_without_texts_is_left_out(on_the_hub):
    names = [" pos", "neg", "null", "unknown"]
    features = datasets.Features(text=datasets.Value("string"), label=datasets.ClassLabel(names=names))
    on_the_hub(train=datasets.Dataset.from_dict(numbered([0, 1, 2, 0, 1, 2]), features=features))
    data = load_labelled_text("owner/name")
    assert data.class_counts() == {"pos": 2, "neg": 2, "null": 2}
    assert "no text has the label 'unknown', so it is no class here" in data.provenance.notes


def test_labels_with_decimals_are_said_to_be_classes(toy):
    data = load_labelled_text(toy(**numbered([0.5, 1.5, 0.5, 1.5])))
    assert data.provenance.notes == ("labels with decimals, such as 0.5, count as classes, not as amounts",)


def test_texts_that_contradict_each_other_after_tidying_are_counted(toy):
    rows = {
        "text": ["a", "a", "b", "b", "c", "d", "e", "f"],
        "label": ["x", " x", "x", "y", "x", "y", "x", "y"],
    }
    data = load_labelled_text(toy(**rows))
    assert data.texts == ("a", "c", "d", "e", "f")
    assert dict(data.provenance.dropped) == {"duplicate text": 1, "text with several labels": 2}
