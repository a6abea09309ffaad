import numpy as np
import pytest
import torch

from paramgraph import get_response, heat, highpass, identity, lowpass, tikhonov
from paramgraph.filters import Combination

from helpers.names import shown

X = torch.linspace(0, 2, 9, dtype=torch.float64)
A, B, C = heat(1.0), tikhonov(2.0), lowpass(0.5)


@pytest.mark.parametrize(
    ("combined", "expected"),
    [
        (A + B, A(X) + B(X)),
        (A - B, A(X) - B(X)),
        (A * B, A(X) * B(X)),
        (-A, -A(X)),
        (1 - A, 1 - A(X)),
        (A - 1, A(X) - 1),
        (0.5 * A + B, 0.5 * A(X) + B(X)),
        (2 * (A + B) * C, 2 * (A(X) + B(X)) * C(X)),
        (A - 2 * (B - C), A(X) - 2 * (B(X) - C(X))),
        (A + torch.cos, A(X) + torch.cos(X)),
        (torch.cos * A, A(X) * torch.cos(X)),
        (torch.cos - A, torch.cos(X) - A(X)),
        (A - torch.cos, A(X) - torch.cos(X)),
        (np.float64(0.5) * A, 0.5 * A(X)),
        (sum([A, B, C]), A(X) + B(X) + C(X)),
    ],
    ids=lambda value: shown(value) if callable(value) else "",
)
def test_combination_is_the_arithmetic_of_the_values(combined, expected):
    # Numbers are gathered in front, so the last bit may differ.
    torch.testing.assert_close(combined(X), expected, atol=1e-15, rtol=0)


@pytest.mark.parametrize(
    ("combined", "text"),
    [
        (A * B, "heat(t=1.0) * tikhonov(gamma=2.0)"),
        (1 - A, "1.0 - heat(t=1.0)"),
        (-A + B, "-1.0 * heat(t=1.0) + tikhonov(gamma=2.0)"),
        (A - (B + C), "heat(t=1.0) - (tikhonov(gamma=2.0) + lowpass(cutoff=0.5))"),
        (
            A - 2 * B * (A + C),
            "heat(t=1.0) - 2.0 * tikhonov(gamma=2.0) * (heat(t=1.0) + lowpass(cutoff=0.5))",
        ),
    ],
)
def test_repr_is_the_expression_and_makes_it_again(combined, text):
    assert repr(combined) == text
    assert eval(text, {"heat": heat, "tikhonov": tikhonov, "lowpass": lowpass}) == combined


@pytest.mark.parametrize("neutral", [A + 0, 0 + A, 1 * A, A * 1.0, A - 0])
def test_neutral_number_changes_nothing(neutral):
    assert neutral is A


def test_nested_sums_and_products_are_one():
    assert A + (B + C) == (A + B) + C
    assert (A * B) * C == A * (B * C)
    assert 2 * (3 * A) == 6 * A
    assert A + B != B * A


def test_lowpass_and_highpass_products_and_sums():
    assert not (lowpass(1.0) * highpass(1.0))(X).any()
    assert torch.equal((lowpass(1.0) + highpass(1.0))(X), identity()(X))


def test_dtype_is_that_of_the_eigenvalues():
    assert (1 - 0.5 * A)(X.float()).dtype == torch.float32
    assert (A * B)([0, 1]).dtype == torch.float64


def test_part_that_writes_into_its_argument_does_not_change_the_next():
    spoiler = A + (lambda x: x.zero_())
    assert torch.equal((spoiler + B)(X), A(X) + B(X))


def test_callable_without_a_name_stays_in_the_options():
    assert dict((A + torch.cos).options)["parts"] == [["heat", {"t": 1.0}], torch.cos]


@pytest.mark.parametrize("other", ["heat", None, [1.0], 1j, int])
def test_what_is_no_response_cannot_be_combined(other):
    for act in (lambda: A + other, lambda: other * A, lambda: A - other):
        with pytest.raises(TypeError):
            act()


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_number_must_be_finite(number):
    with pytest.raises(ValueError, match="finite"):
        number * A


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    ("parts", "error"),
    [([1.0], ValueError), ([], ValueError), ("heat", TypeError), (3, TypeError), ([["heat"]], TypeError)],
)
def test_parts_that_make_no_response_raise(parts, error):
    with pytest.raises(error, match="sum of responses"):
        get_response("sum", parts=parts)


def test_combination_of_one_plain_callable_is_kept_as_a_response():
    assert isinstance(get_response("product", parts=[torch.cos]), Combination)
