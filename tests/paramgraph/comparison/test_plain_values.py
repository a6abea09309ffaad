import json
import math

import numpy as np
import pytest
import torch

from paramgraph.comparison._plain_values import plain


def test_values_without_a_number_are_none():
    assert plain([math.nan, math.inf, -math.inf, np.float64("nan"), torch.tensor(math.nan)]) == [None] * 5


def test_floats_keep_six_digits_and_integers_all():
    assert plain({"a": 123456.789, "b": 1.23456789e-12, "c": 123456789}) == {
        "a": 123457.0,
        "b": 1.23457e-12,
        "c": 123456789,
    }


def test_all_digits_are_kept_where_asked_for():
    assert plain((1 / 3,), None) == [1 / 3]


def test_rounding_twice_changes_nothing():
    values = np.random.default_rng(0).standard_normal(100)
    assert plain(plain(values)) == plain(values)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.int64(3), 3),
        (np.bool_(True), True),
        (True, True),
        (np.zeros((2, 1)), [[0.0], [0.0]]),
        (torch.ones(2, dtype=torch.bfloat16), [1.0, 1.0]),
        ({1: (np.float32(0.5), None)}, {"1": [0.5, None]}),
        ({}, {}),
    ],
)
def test_arrays_and_scalars_become_what_json_holds(value, expected):
    assert plain(value) == expected
    json.dumps(plain(value), allow_nan=False)


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes", 1j])
def test_other_values_are_refused_by_their_type(value):
    with pytest.raises(TypeError, match=type(value).__name__):
        plain([value])
