"""Builders as they are written on a command line."""

import pytest

from paramgraph import CosineKNN, Permuted, Ring
from paramgraph.cli import parse_builders


def test_names_alone_stay_names():
    assert parse_builders(["cosine_knn", "ring"]) == ["cosine_knn", "ring"]


def test_options_are_read_as_numbers_truths_and_words():
    found = parse_builders(["cosine_knn:k=20,mutual=true,connect=mst", "ring"])
    assert found == {
        "cosine_knn:k=20,mutual=true,connect=mst": CosineKNN(k=20, mutual=True, connect="mst"),
        "ring": Ring(),
    }


def test_one_builder_with_different_options_stands_twice():
    assert [made.k for made in parse_builders(["cosine_knn:k=5", "cosine_knn:k=20"]).values()] == [5, 20]


def test_none_is_none_and_a_number_may_have_a_point():
    found = parse_builders(["gaussian_knn:sigma=none", "gaussian_knn:sigma=0.5"])
    assert [made.sigma for made in found.values()] == [None, 0.5]


def test_a_null_model_is_given_its_builder():
    assert parse_builders(["permuted:builder=ring,seed=3"]) == {
        "permuted:builder=ring,seed=3": Permuted(builder=Ring(), seed=3)
    }


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("rigs", "did you mean 'ring'"),
        ("cosine_knn:n=3", r"no option 'n' \(options: k=10"),
        ("cosine_knn:k", "'k' is no option with its value; write cosine_knn:option=value"),
        ("cosine_knn:k=", "no option with its value"),
        ("cosine_knn:k=0", "at least 1"),
        ("permuted", "needs 'builder'"),
        ("cosine_knn:=3", "no option with its value"),
    ],
)
def test_a_slip_is_one_clear_value_error(word, message):
    with pytest.raises(ValueError, match=message):
        parse_builders([word])


def test_the_same_word_twice_is_refused():
    with pytest.raises(ValueError, match="'ring' is given twice"):
        parse_builders(["ring", "gram", "ring"])
