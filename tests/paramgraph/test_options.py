"""Checks of option values."""

import numpy as np
import pytest

from paramgraph.options import check_count, check_seed


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
