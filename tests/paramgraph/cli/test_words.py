"""Layers and builders as they are written on a command line."""

import pytest

import paramgraph
from paramgraph import CosineKNN, Permuted, Ring
from paramgraph.cli import parse_builders, read_excluded, read_targets


def matched(words, model):
    return list(paramgraph.rows(model, read_targets(words)))


def test_names_are_matched_by_their_ends(tiny_transformer):
    found = matched(["query", "attention.output.dense"], tiny_transformer)
    assert len(found) == 4
    assert all("query" in name or "attention.output" in name for name in found)


@pytest.mark.parametrize(
    "word", [r".*layer\.1\..*query", ".*layer.1.*query", r".*\.1\.attention\.self\.(query)"]
)
def test_one_word_with_the_signs_of_one_is_a_regular_expression(tiny_transformer, word):
    assert matched([word], tiny_transformer) == ["bert.encoder.layer.1.attention.self.query.weight"]


def test_a_dot_alone_is_part_of_a_name(tiny_transformer):
    assert matched(["self.query"], tiny_transformer) == matched(["query"], tiny_transformer)


@pytest.mark.parametrize("words", [None, [], ["all-linear"], ["All-Linear"]])
def test_nothing_and_the_word_for_all_are_all(tiny_transformer, words):
    assert matched(words, tiny_transformer) == list(paramgraph.rows(tiny_transformer))


def test_nothing_is_excluded_unless_it_is_said():
    assert read_excluded(None) is None
    assert read_excluded(["pooler.dense"]) == ["pooler.dense"]


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


def test_an_option_that_is_given_twice_is_refused():
    with pytest.raises(ValueError, match="'cosine_knn:k=5,k=50' gives k twice"):
        parse_builders(["cosine_knn:k=5,k=50"])


def test_the_same_word_twice_is_refused():
    with pytest.raises(ValueError, match="'ring' is given twice"):
        parse_builders(["ring", "gram", "ring"])
