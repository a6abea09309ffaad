"""Checks of option values."""

import numpy as np
import pytest

from paramgraph._checks import check_choice, check_count, check_number, check_seed


@pytest.mark.parametrize("value", [1, 10, np.int64(3)])
def test_whole_positive_counts_pass(value: int) -> None:
    check_count("b", "k", value)


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (0, ValueError),
        (-1, ValueError),
        (2.0, TypeError),
        (True, TypeError),
        ("3", TypeError),
        (None, TypeError),
    ],
)
def test_other_counts_are_refused_with_what_came(value: object, error: type[Exception]) -> None:
    with pytest.raises(error, match=rf"b: k must be .* got {value!r}"):
        check_count("b", "k", value)


@pytest.mark.parametrize("value", [0, 2**63 - 1, np.int32(5)])
def test_seeds_pass(value: int) -> None:
    check_seed("b", value)


@pytest.mark.parametrize(
    ("value", "error"),
    [(-1, ValueError), (2**63, ValueError), (None, TypeError), (False, TypeError), (1.5, TypeError)],
)
def test_other_seeds_are_refused_with_what_came(value: object, error: type[Exception]) -> None:
    with pytest.raises(error, match=rf"b: seed must be .* got {value!r}"):
        check_seed("b", value)


@pytest.mark.parametrize("value", ["mts", None, 1, ""])
def test_choice_that_is_not_offered_is_refused_with_what_is(value: object) -> None:
    check_choice("b", "connect", "mst", ("none", "mst"))
    with pytest.raises(ValueError, match=rf"b: connect must be one of 'none', 'mst', got {value!r}"):
        check_choice("b", "connect", value, ("none", "mst"))


@pytest.mark.parametrize("value", [1e-300, 1, np.float32(0.5)])
def test_numbers_within_bounds_pass(value: float) -> None:
    check_number("b", "alpha", value, low=0.0, high=1.0)


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (0.0, ValueError),
        (1.5, ValueError),
        (float("nan"), ValueError),
        (float("inf"), ValueError),
        ("1", TypeError),
        (True, TypeError),
        (None, TypeError),
    ],
)
def test_other_numbers_are_refused(value: object, error: type[Exception]) -> None:
    with pytest.raises(error, match="b: alpha must be"):
        check_number("b", "alpha", value, low=0.0, high=1.0)


def test_number_without_an_upper_bound_must_be_finite() -> None:
    with pytest.raises(ValueError, match="b: sigma must be above 0 and finite"):
        check_number("b", "sigma", float("inf"), low=0.0)
