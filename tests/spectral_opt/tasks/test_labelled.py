"""A data set that cannot be used does not come to be."""

import numpy as np
import pytest

from spectral_opt.errors import DataError
from spectral_opt.tasks import LabelledText, Provenance, UnlabelledText, load_text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": np.array([0, 1, 2, 1])}, "run from 0 to 2"),
        ({"labels": np.array([0, -1, 0, 1])}, "run from -1 to 1"),
        ({"labels": np.array([0, 1])}, "2 labels for 4 texts"),
        ({"groups": ("a",)}, "1 groups for 4 texts"),
    ],
)
def test_columns_that_do_not_fit_are_refused(change, message):
    given = {"texts": ("a", "b", "c", "d"), "labels": np.array([0, 0, 1, 1]), **change}
    with pytest.raises(DataError, match=message):
        LabelledText("toy", label_names=("x", "y"), provenance=Provenance("toy"), **given)


def test_labels_cannot_be_edited_and_are_a_copy():
    labels = np.array([0, 0, 1, 1])
    data = LabelledText("toy", ("a", "b", "c", "d"), labels, ("x", "y"), Provenance("toy"))
    labels[0] = 1
    assert data.labels.tolist() == [0, 0, 1, 1]
    with pytest.raises(ValueError, match="read-only"):
        data.labels[0] = 1


def test_shuffled_labels_keep_the_counts_and_say_so(toy):
    shuffled = toy.with_shuffled_labels(0)
    assert shuffled.class_counts() == toy.class_counts()
    assert shuffled.texts == toy.texts
    assert not np.array_equal(shuffled.labels, toy.labels)
    assert np.array_equal(shuffled.labels, toy.with_shuffled_labels(0).labels)
    assert not np.array_equal(shuffled.labels, toy.with_shuffled_labels(1).labels)
    assert "labels shuffled (seed 0)" in str(shuffled.provenance)


def test_metadata_have_one_value_per_text():
    with pytest.raises(DataError, match="1 values of year for 2 texts"):
        UnlabelledText("toy", ("a", "b"), Provenance("toy"), metadata={"year": (1,)})


def test_texts_are_drawn_once_each_and_never_more_than_there_are():
    data = UnlabelledText("toy", tuple("abcdefgh"), Provenance("toy"))
    assert sorted(data.drawn(8, seed=0)) == list("abcdefgh")
    assert data.drawn(3, seed=0) == data.drawn(8, seed=0)[:3] != data.drawn(3, seed=1)
    with pytest.raises(DataError, match="toy has 8 texts, and 9 were asked for"):
        data.drawn(9, seed=0)


def test_texts_become_documents_however_their_names_are_written(tmp_path):
    rows = ["one,letter 1", "two,letter  1 ", "three,", "four,nan", "five,letter 2"]
    (tmp_path / "letters.csv").write_text("\n".join(["text,letter", *rows]))
    documents = load_text(tmp_path / "letters.csv", document_column="letter").as_documents("letter")
    assert documents.texts == ("one\n\ntwo", "three\n\nfour", "five")
    assert documents.metadata["letter"] == ("letter 1", "", "letter 2")
    assert "texts without letter, which stand together as one document: 2" in str(documents.provenance)


def test_a_document_of_two_shipped_parts_is_refused(tmp_path):
    for part, letters in (("train", (1, 2)), ("test", (2, 3))):
        rows = [f"{part} {letter},{letter}" for letter in letters]
        (tmp_path / f"{part}.csv").write_text("\n".join(["text,letter", *rows]))
    data = load_text(tmp_path, document_column="letter")
    # Else the shipped test part would be given up without a word.
    with pytest.raises(
        DataError, match="the document '2' by 'letter' has texts in the parts test, train; give"
    ):
        data.as_documents("letter")
