"""Which class of a classifier is which class of the data."""

from types import SimpleNamespace

import pytest

from spectral_opt.errors import DataError
from spectral_opt.tasks import match_classes


def model(**label2id):
    return SimpleNamespace(config=SimpleNamespace(label2id=label2id, num_labels=len(label2id)))


def test_names_go_first_whatever_their_order_and_case():
    assert match_classes(model(Bad=0, Good=1), ("good", "bad")) == ([1, 0], [])


def test_numbers_are_the_classes_that_they_name():
    assert match_classes(model(LABEL_0=0, LABEL_1=1, LABEL_2=2), ("2", "0")) == ([2, 0], [])


def test_other_names_are_matched_by_order_and_that_is_said():
    numbers, (remark,) = match_classes(model(LABEL_0=0, LABEL_1=1), ("fresh", "rotten"))
    assert numbers == [0, 1]
    assert "by order: fresh, rotten" in remark


def test_another_number_of_classes_is_refused():
    with pytest.raises(DataError, match="the classes a, b, c, and the model has 2 others"):
        match_classes(model(LABEL_0=0, LABEL_1=1), ("a", "b", "c"))
