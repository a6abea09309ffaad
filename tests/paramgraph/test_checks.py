"""Checks of option values."""

import numpy as np
import pytest

from paramgraph._checks import (
    check_choice,
    check_count,
    check_flag,
    check_number,
    check_seed,
    is_number,
    is_whole,
    known_choice,
    non_negative,
    whole_number,
)
from paramgraph.errors import UnknownNameError


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


@pytest.mark.parametrize("value", ["false", 1, 0, None])
def test_what_is_neither_true_nor_false_is_no_flag(value: object) -> None:
    check_flag("b", "signed", np.bool_(True))
    with pytest.raises(TypeError, match=rf"b: signed must be True or False, got {value!r}"):
        check_flag("b", "signed", value)


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


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3)])
def test_integers_of_numpy_are_integers_and_numbers(value: object) -> None:
    assert is_whole(value)
    assert is_number(value)


@pytest.mark.parametrize("value", [True, np.True_, "3", None, 3j, [3]])
def test_a_bool_is_no_number(value: object) -> None:
    assert not is_whole(value)
    assert not is_number(value)


def test_a_float_is_no_integer() -> None:
    assert is_number(np.float16(3.0))
    assert not is_whole(3.0)


def test_a_whole_number_is_an_int_of_python() -> None:
    assert type(whole_number("rank", np.int64(3), 1)) is int


@pytest.mark.parametrize("value", [0, True, 1.5, "1", None])
def test_what_is_no_whole_number_or_too_small_is_named(value: object) -> None:
    with pytest.raises(ValueError, match=rf"rank is {value!r}; it must be an int >= 1"):
        whole_number("rank", value, 1)


def test_a_factor_is_a_float_of_python() -> None:
    assert type(non_negative("ridge", 1)) is float


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (-1.0, ValueError),
        (float("inf"), ValueError),
        (float("nan"), ValueError),
        (True, TypeError),
        ("1", TypeError),
    ],
)
def test_what_is_no_factor_is_named(value: object, error: type[Exception]) -> None:
    with pytest.raises(error, match=rf"ridge is {value!r}; it must be .*>= 0"):
        non_negative("ridge", value)


def test_choices_need_not_be_words() -> None:
    known_choice("tail", 0, ("edge", 0, 1))
    with pytest.raises(UnknownNameError, match=r"tail is False \(allowed: 'edge', 0, 1\)"):
        known_choice("tail", False, ("edge", 0, 1))


def test_a_choice_that_is_nearly_right_is_told() -> None:
    with pytest.raises(UnknownNameError, match=r"tail is 'egde'; did you mean 'edge'\?"):
        known_choice("tail", "egde", ("edge", 0, 1))
