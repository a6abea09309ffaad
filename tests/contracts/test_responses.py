"""What every named response keeps; a new one in `RESPONSES` gets these tests by being there."""

import inspect
import json
import pickle

import pytest
import torch

from paramgraph import get_response, list_responses
from paramgraph.filters import RESPONSES, evaluate_response

# For options that are no numbers.
SAMPLES = {"measured": {"edges": [0.5, 1.5], "gains": [0.9, 0.7, 0.1]}}

# Made to bring weak modes, or strong ones, forward.
AMPLIFYING = ("power",)


@pytest.fixture(params=list_responses())
def response(request: pytest.FixtureRequest):
    """With its default options, and 0.7, 1.7 and so on for those that have none."""
    if request.param in SAMPLES:
        return get_response(request.param, **SAMPLES[request.param])
    parameters = inspect.signature(RESPONSES[request.param]).parameters.values()
    required = [parameter.name for parameter in parameters if parameter.default is parameter.empty]
    return get_response(request.param, **{name: 0.7 + place for place, name in enumerate(required)})


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("count", [0, 1, 7])
def test_shape_and_dtype_are_those_of_the_eigenvalues(response, dtype, count):
    gain = response(torch.linspace(0, 2, count, dtype=dtype))
    assert gain.shape == (count,)
    assert gain.dtype == dtype


def test_response_is_finite_and_does_not_amplify_a_laplacian(response):
    gain = evaluate_response(response, torch.linspace(0, 100, 50, dtype=torch.float64))
    assert (gain >= 0).all()
    assert response.name in AMPLIFYING or (gain <= 1).all()


def test_response_acts_on_each_eigenvalue_alone(response):
    x = torch.linspace(0, 2, 9, dtype=torch.float64)
    assert torch.equal(response(x.flip(0)), response(x).flip(0))


def test_repr_makes_the_same_response(response):
    assert eval(repr(response), dict(RESPONSES)) == response


def test_name_and_options_make_the_same_response(response):
    assert get_response(response.name, **json.loads(json.dumps(dict(response.options)))) == response


@pytest.mark.parametrize(
    "combined", [lambda h: 1 - 0.5 * h, lambda h: h * h + 2 * (h - 3)], ids=["sum", "nested"]
)
def test_combinations_are_made_again_by_repr_and_by_name_and_options(response, combined):
    whole = combined(response)
    assert eval(repr(whole), dict(RESPONSES)) == whole
    assert get_response(whole.name, **json.loads(json.dumps(dict(whole.options)))) == whole
    x = torch.linspace(0, 2, 9, dtype=torch.float64)
    torch.testing.assert_close(whole(x), combined(response(x)), atol=1e-14, rtol=0)


def test_responses_are_hashable_and_pickled(response):
    assert pickle.loads(pickle.dumps(1 - response)) == 1 - response
    assert len({response, 1 - response, 1 - response}) == 2
