import json
import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from paramgraph import MeasuredResponse, measured_steps

STEPS = measured_steps([0.5, 1.0], [0.9, 0.5, 0.1])
WITH_EVIDENCE = MeasuredResponse(
    STEPS.name,
    STEPS.options,
    STEPS.rule,
    raw=(1.2, 0.5, math.nan),
    low=(0.3, 0.2, math.nan),
    high=(2.0, 0.8, math.nan),
    modes=(2, 3, 4),
    clipped=1,
    covered=(0.0, 1.5),
    batches_averaged=19.0,
)


@given(
    st.lists(st.floats(-3, 3), unique=True, max_size=6).map(sorted),
    st.lists(st.floats(-4, 4), max_size=20),
    st.data(),
)
@settings(max_examples=40, deadline=None)
def test_eigenvalues_belong_to_the_band_at_or_below_the_next_edge(edges, values, data):
    gains = data.draw(st.lists(st.floats(0, 1), min_size=len(edges) + 1, max_size=len(edges) + 1))
    found = measured_steps(edges, gains)(torch.tensor(values, dtype=torch.float64))
    assert found.tolist() == [gains[sum(edge < value for edge in edges)] for value in values]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("count", [0, 1, 5])
def test_shape_and_dtype_are_those_of_the_eigenvalues(dtype, count):
    x = torch.linspace(0, 2, count, dtype=dtype)
    found = STEPS(x)
    assert (found.shape, found.dtype) == ((count,), dtype)


def test_no_edges_is_one_gain_everywhere():
    assert measured_steps([], [0.25])(torch.tensor([-9.0, 0.0, 9.0])).tolist() == [0.25] * 3


def test_repr_is_the_call_that_writes_it_down():
    assert eval(repr(WITH_EVIDENCE), {"measured": measured_steps}) == STEPS


def test_equal_steps_are_equal_whatever_they_rest_on():
    assert WITH_EVIDENCE == STEPS
    assert hash(WITH_EVIDENCE) == hash(STEPS)
    assert measured_steps([0.5, 1.0], [0.9, 0.5, 0.2]) != STEPS


def test_dictionary_is_plain_json_and_reads_back_with_its_evidence():
    text = json.dumps(WITH_EVIDENCE.to_dict(), allow_nan=False)
    again = MeasuredResponse.from_dict(json.loads(text))
    assert again == WITH_EVIDENCE
    for name in ("raw", "low", "high", "modes", "covered"):
        np.testing.assert_array_equal(getattr(again, name), getattr(WITH_EVIDENCE, name))
    assert (again.clipped, again.batches_averaged) == (1, 19.0)


def test_dictionary_of_steps_without_evidence_reads_back():
    again = MeasuredResponse.from_dict(json.loads(json.dumps(STEPS.to_dict(), allow_nan=False)))
    assert again == STEPS
    assert again.covered == (-math.inf, math.inf)
    assert MeasuredResponse.from_dict({"edges": [0.5, 1.0], "gains": [0.9, 0.5, 0.1]}) == STEPS


def test_response_can_be_pickled():
    assert pickle.loads(pickle.dumps(WITH_EVIDENCE)) == STEPS


@pytest.mark.parametrize(
    ("edges", "gains", "message"),
    [
        ([1.0, 0.5], [1, 1, 1], "rise"),
        ([0.5, 0.5], [1, 1, 1], "rise"),
        ([0.5], [1], "one gain more"),
        ([], [], "one gain more"),
        ([0.5], [1, 1.5], "from 0 to 1"),
        ([0.5], [-0.1, 1], "from 0 to 1"),
        ([math.nan], [1, 1], "finite"),
        ([0.5], [math.nan, 1], "finite"),
    ],
)
def test_edges_and_gains_must_fit(edges, gains, message):
    with pytest.raises(ValueError, match=message):
        measured_steps(edges, gains)


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("wrong", [0.7, None, "ab", [None]])
def test_anything_but_sequences_of_numbers_is_a_type_error(wrong):
    with pytest.raises(TypeError, match="sequence of numbers"):
        measured_steps(wrong, [1.0])


def test_arrays_and_tensors_are_sequences_too():
    assert measured_steps(np.array([0.5]), torch.tensor([1.0, 0.0])) == measured_steps([0.5], [1, 0])
