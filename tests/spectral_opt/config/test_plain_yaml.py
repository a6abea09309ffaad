"""What a file may say: plain values, and one clear line for everything else."""

import pytest

from spectral_opt.config import read_yaml


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rate: {{ lr }}", r"a key must be one word .* line 1, column 8"),
        ("? [a, b]\n: 1", "a key must be one word"),
        ("a: {x: 1, x: 2}", "x is there twice"),
        (
            "a: {x:1e-6}",
            "x:1e-6 is a name without a value: write {x: 1e-6}, with a space .* line 1, column 5",
        ),
        ("a: {y: 0, x:b:c}", "x:b:c is a name without a value: write {x: b:c}, with a space"),
        ("[" * 5000, "nested too deep"),
        ("a: " + "9" * 5000, r"'9{40}' cannot be read as int"),
        ("a: !!int abc", "'abc' cannot be read as int .* line 1"),
        ("a: !!int ''", "'' cannot be read as int"),
        ("a: !!bool perhaps", "'perhaps' cannot be read as bool"),
        ("a: !!map [b]", "cannot be read as map"),
        ("a: !!timestamp 2024-01-01", "could not determine a constructor"),
        ("a: !!binary aGk=", "could not determine a constructor"),
        ("a: !!set {x, y}", "could not determine a constructor"),
    ],
    ids=[
        "template",
        "list",
        "twice",
        "no space",
        "no space beside a value",
        "deep",
        "long",
        "int",
        "empty",
        "bool",
        "map",
        "timestamp",
        "binary",
        "set",
    ],
)
def test_what_is_no_plain_value_is_one_line_with_the_files_name(text, message):
    with pytest.raises(ValueError, match=f"^mine.yaml:? .*{message}") as raised:
        read_yaml(text, "mine.yaml")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("word", ["2024-01-01", "2024-13-45", "12:30:00", "-1:30.5"])
def test_dates_and_times_are_text(word):
    assert read_yaml(f"a: {word}", "mine.yaml") == {"a": word}


def test_a_name_may_have_a_colon():
    text = """{x:1: 2, "y": 3, "z:1":4, 'v:1': , w: }"""
    assert read_yaml(text, "mine.yaml") == {"x:1": 2, "y": 3, "z:1": 4, "v:1": None, "w": None}
    assert read_yaml("x:1:", "mine.yaml") == {"x:1": None}


def test_plain_values_are_what_they_are():
    text = "a: [1, -2.5, 1e-3, true, null, word, '2']\nb: &b {c: 1}\nd: {<<: *b, e: 0}\nnull: x"
    assert read_yaml(text, "mine.yaml") == {
        "a": [1, -2.5, 0.001, True, None, "word", "2"],
        "b": {"c": 1},
        "d": {"c": 1, "e": 0},
        "null": "x",
    }
