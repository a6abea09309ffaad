"""`paramgraph builders`: every builder with its options, nulls last."""

import json
import shlex

import pytest

from paramgraph import list_builders, register
from paramgraph.cli import describe_builders, main, parse_builders
from paramgraph.graphs import builder_options, registry


def test_every_builder_is_described_with_all_its_options():
    found = {builder["name"]: builder for builder in describe_builders()}
    assert sorted(found) == list_builders()
    for name, builder in found.items():
        assert builder["summary"].endswith(".")
        assert {*builder["options"], *builder["required"]} == set(builder_options(name))


def test_nulls_are_named_so_and_come_last():
    nulls = [builder["null"] for builder in describe_builders()]
    assert nulls == sorted(nulls)
    assert {builder["name"] for builder in describe_builders() if builder["null"]} == {
        "complete",
        "permuted",
        "random",
        "ring",
        "rotated",
    }


def test_the_table_has_a_row_for_each_and_says_how_to_give_options(capsys):
    assert main(["builders"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in list_builders())
    assert "mutual=false" in out
    assert "builder (needed)" in out
    assert "--builders cosine_knn:k=20" in out


def test_json_is_json_and_nothing_else(capsys):
    assert main(["builders", "--json"]) == 0
    printed = capsys.readouterr()
    assert {builder["name"] for builder in json.loads(printed.out)} == set(list_builders())
    assert not printed.err


@pytest.mark.parametrize("name", list_builders())
def test_one_builder_says_all_of_itself_and_how_to_take_it_along(name, capsys):
    assert main(["builders", name]) == 0
    out = capsys.readouterr().out
    described = {builder["name"]: builder for builder in describe_builders()}[name]
    assert described["summary"] in out
    assert all(option in out for option in (*described["options"], *described["required"]))
    line = out.rstrip().splitlines()[-1].partition(": ")[2]
    words = shlex.split(line)
    if "--builders" in words:
        assert parse_builders(words[words.index("--builders") + 1 :])
    else:
        assert words[-2:] == ["--nulls", name]


def test_a_builder_of_your_own_that_needs_an_option_is_no_null_model(capsys, monkeypatch):
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    register("needing")(lambda data, size, other=2: data)
    assert main(["builders", "needing"]) == 0
    assert capsys.readouterr().out.rstrip().endswith("--builders needing:size=...,other=2")


def test_a_builder_that_is_not_there_is_told_with_a_near_one(capsys):
    assert main(["builders", "cosine_kn"]) == 2
    assert "did you mean 'cosine_knn'" in capsys.readouterr().err
