"""Layers as they are named on a command line."""

import argparse

import pytest

import paramgraph
from paramgraph.cli._words import add_targets, read_excluded, read_targets


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


def test_the_options_are_there():
    parser = argparse.ArgumentParser()
    add_targets(parser)
    given = parser.parse_args(["--targets", "query", "key", "--exclude", "pooler"])
    assert (given.targets, given.exclude) == (["query", "key"], ["pooler"])
