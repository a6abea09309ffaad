import math
import pickle

import pytest
import torch
from hypothesis import given, settings, strategies as st

from paramgraph import (
    UnknownNameError,
    bandpass,
    get_response,
    heat,
    highpass,
    identity,
    lowpass,
    power,
    tikhonov,
)
from paramgraph.filters import evaluate_response

X = torch.linspace(0, 2, 9, dtype=torch.float64)


def test_heat_is_the_exponential():
    assert torch.equal(heat(3.0)(X), torch.exp(-3.0 * X))


def test_tikhonov_is_the_resolvent():
    assert torch.equal(tikhonov(3.0)(X), 1 / (1 + 3.0 * X))


def test_cutoff_belongs_to_the_low_side():
    assert lowpass(1.0)(X).tolist() == [1.0] * 5 + [0.0] * 4


@pytest.mark.parametrize("cutoff", [0.0, 0.3, 1.0, 2.0, 9.0])
def test_lowpass_and_highpass_add_up_to_exactly_one(cutoff):
    assert torch.equal(lowpass(cutoff)(X) + highpass(cutoff)(X), torch.ones_like(X))


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.3), (0.5, 0.5), (0.25, 1.0), (0.0, 9.0)])
def test_three_bands_add_up_to_exactly_one(low, high):
    total = lowpass(low)(X) + bandpass(low, high)(X) + highpass(high)(X)
    assert torch.equal(total, torch.ones_like(X))


def test_upper_end_belongs_to_the_band_and_the_lower_one_does_not():
    assert bandpass(0.5, 1.0)(X).tolist() == [0, 0, 0, 1, 1, 0, 0, 0, 0]


@given(
    st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=8),
    st.floats(-2, 2),
    st.floats(-2, 2),
    st.floats(0, 1),
)
@settings(max_examples=50, deadline=None)
def test_powers_multiply_by_adding_their_exponents(eigenvalues, p, q, damping):
    x = torch.tensor(eigenvalues, dtype=torch.float64)
    found = power(p, damping)(x) * power(q, damping)(x)
    # Some roundings of float64, times exponents of up to 2 and logarithms of up to 7.
    torch.testing.assert_close(found, power(p + q, damping)(x), rtol=1e-13, atol=0)
    rising = power(p, damping)(x.sort().values).diff() * math.copysign(1, -p)
    assert bool((rising >= 0).all())


def test_power_is_shampoos_root_and_damping_its_epsilon():
    torch.testing.assert_close(power(0.25, 0.0)(4 * X[1:]), (4 * X[1:]) ** -0.25)
    torch.testing.assert_close(power(0.25)(torch.zeros(1)), torch.tensor([1e-6**-0.25]))
    assert torch.equal(power(-1.0, 0.0)(X), X)
    assert repr(power(0.25)) == "power(p=0.25, damping=1e-06)"
    assert get_response("power", p=0.25) == power(0.25)


def test_power_takes_rounding_below_zero_for_zero():
    values = torch.tensor([-1e-6, 0.0, 1.0])
    assert power(0.5)(values)[0] == power(0.5)(values)[1]


@pytest.mark.parametrize("p", [0.5, -0.5])
def test_power_of_a_negative_eigenvalue_says_what_to_do(p):
    with pytest.raises(ValueError, match=r"negative eigenvalue -0\.5.*Gram"):
        power(p)(torch.tensor([-0.5, 1.0]))


def test_power_without_damping_is_infinite_at_zero_and_says_so():
    with pytest.raises(ValueError, match="take damping > 0"):
        power(0.5, damping=0.0)(X)
    assert power(-0.5, damping=0.0)(X)[0] == 0


@pytest.mark.parametrize("options", [{"p": math.nan}, {"p": math.inf}, {"p": 1.0, "damping": -1.0}])
def test_power_takes_finite_numbers(options):
    with pytest.raises(ValueError, match="must be a finite number"):
        power(**options)


def test_band_the_wrong_way_round_raises():
    with pytest.raises(ValueError, match="low must not be above high"):
        bandpass(1.0, 0.5)


@pytest.mark.parametrize("response", [heat(0.0), tikhonov(0.0), power(0.0), identity()])
def test_zero_strength_is_exactly_the_identity(response):
    assert torch.equal(response(X), torch.ones_like(X))


def test_tikhonov_names_its_pole():
    with pytest.raises(ValueError, match="pole"):
        tikhonov(2.0)(torch.tensor([-0.5, 1.0]))


def test_response_takes_plain_numbers():
    assert heat(1.0)([0, 0]).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("factory", [heat, tikhonov, lowpass, highpass])
@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_strength_must_be_finite_and_not_negative(factory, value):
    with pytest.raises(ValueError, match="0 or larger"):
        factory(value)


@pytest.mark.usefixtures("unchecked_types")
def test_strength_must_be_a_number():
    with pytest.raises(TypeError, match="takes a number"):
        get_response("heat", t="hot")


def test_responses_are_values():
    assert heat(1) == heat(1.0)
    assert heat(1.0) != heat(2.0)
    assert hash(tikhonov(0.5)) == hash(tikhonov(0.5))
    assert pickle.loads(pickle.dumps(heat(2.0))) == heat(2.0)


def test_unknown_name_suggests_a_near_one():
    with pytest.raises(UnknownNameError, match=r"did you mean 'tikhonov'.*available"):
        get_response("tichonov")


@pytest.mark.parametrize("options", [{}, {"time": 1.0}])
def test_wrong_options_of_a_name_raise(options):
    with pytest.raises(TypeError, match="heat"):
        get_response("heat", **options)


def test_callable_is_taken_as_it_is_and_keywords_are_bound():
    rule = torch.cos
    assert get_response(rule) is rule
    assert get_response(lambda x, p: x**p, p=2)(torch.tensor(3.0)).item() == 9.0


@pytest.mark.usefixtures("unchecked_types")
def test_what_is_no_response_raises():
    with pytest.raises(TypeError, match="callable"):
        get_response(3)


def test_wrong_shape_is_named():
    with pytest.raises(ValueError, match="one number for each"):
        evaluate_response(lambda x: x.sum(), X)


def test_complex_response_is_refused_and_not_cut_to_its_real_part():
    with pytest.raises(ValueError, match="complex"):
        evaluate_response(lambda x: torch.exp(1j * x), X)


def test_response_that_is_not_finite_is_named_with_its_eigenvalue():
    with pytest.raises(ValueError, match="at the eigenvalue 0"):
        evaluate_response(lambda x: 1 / x, X)


def test_response_that_writes_into_its_argument_does_not_change_the_spectrum():
    before = X.clone()
    evaluate_response(lambda x: x.zero_() + 1, X)
    assert torch.equal(X, before)


def test_response_is_where_the_eigenvalues_are_whatever_the_default_device():
    with torch.device("meta"):
        assert torch.equal(heat(1.0)(X), torch.exp(-X))
        assert torch.equal(evaluate_response(heat(1.0), X), torch.exp(-X))
