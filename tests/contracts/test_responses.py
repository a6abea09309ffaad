"""What every named response keeps; a new one in `RESPONSES` gets these tests by being there."""

import inspect

import pytest
import torch

from paramgraph.responses import RESPONSES, evaluate_response, get_response, list_responses


@pytest.fixture(params=list_responses())
def response(request: pytest.FixtureRequest):
    factory = RESPONSES[request.param]
    return get_response(request.param, **dict.fromkeys(inspect.signature(factory).parameters, 0.7))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("count", [0, 1, 7])
def test_shape_and_dtype_are_those_of_the_eigenvalues(response, dtype, count):
    gain = response(torch.linspace(0, 2, count, dtype=dtype))
    assert gain.shape == (count,)
    assert gain.dtype == dtype


def test_response_is_finite_and_does_not_amplify_a_laplacian(response):
    gain = evaluate_response(response, torch.linspace(0, 100, 50, dtype=torch.float64))
    assert ((gain >= 0) & (gain <= 1)).all()


def test_response_acts_on_each_eigenvalue_alone(response):
    x = torch.linspace(0, 2, 9, dtype=torch.float64)
    assert torch.equal(response(x.flip(0)), response(x).flip(0))


def test_repr_makes_the_same_response(response):
    assert eval(repr(response), dict(RESPONSES)) == response
