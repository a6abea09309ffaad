"""What every gradient filter keeps, whatever its method, response, scheme and dtype."""

import numpy as np
import pytest
import torch
from torch import nn

from paramgraph import (
    adjacency,
    heat,
    highpass,
    identity,
    laplacian,
    lowpass,
    node_tables,
    prepare_filter,
    tikhonov,
)
from spectral_opt import chain, clip_by_global_norm, filter_gradients, gradient_filter, masked, project

from helpers.names import shown

RESPONSES = [heat(2.0), tikhonov(1.0), lowpass(0.9), highpass(0.9), identity()]
METHODS = ["exact", "lowrank", "chebyshev"]
SIZES = {"0.weight": (9, 5), "2.weight": (4, 9)}


def operator_of(nodes, kind):
    weights = np.random.default_rng(nodes).random((nodes, nodes))
    weights = np.triu(weights * (weights > 0.4), 1)
    weights = weights + weights.T
    return adjacency(weights + 5 * np.eye(nodes)) if kind == "adjacency" else laplacian(weights, kind)


def gradients_of(dtype, device="cpu"):
    source = torch.Generator().manual_seed(0)
    found = {name: torch.randn(size, generator=source).to(device, dtype) for name, size in SIZES.items()}
    return found | {"0.bias": torch.ones(9, dtype=dtype, device=device)}


def make(response, method, scheme="rows", kind="sym", norm_matching=False):
    model = nn.Sequential(nn.Linear(5, 9), nn.Tanh(), nn.Linear(9, 4))
    tables = node_tables(model, scheme)
    options = {"rank": 3} if method == "lowrank" else {}
    filters = {
        key: prepare_filter(operator_of(table.shape[0], kind), response, method=method, **options)
        for key, table in tables.items()
    }
    return gradient_filter(filters, tables, norm_matching)


pytestmark = pytest.mark.filterwarnings(
    "ignore:A Chebyshev filter:paramgraph.errors.NumericalWarning", "ignore:a Chebyshev filter"
)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("scheme", ["rows", "columns"])
@pytest.mark.parametrize("response", RESPONSES, ids=shown)
def test_keys_shapes_dtypes_and_the_input_are_kept(dtype, method, scheme, response):
    pair = make(response, method, scheme)
    gradients = gradients_of(dtype)
    before = {name: value.clone() for name, value in gradients.items()}
    filtered, _ = pair.update(gradients, pair.init(gradients))
    assert list(filtered) == list(gradients)
    for name, value in filtered.items():
        assert (value.shape, value.dtype, value.device) == (
            before[name].shape,
            before[name].dtype,
            before[name].device,
        )
        assert torch.equal(gradients[name], before[name])
    assert filtered["0.bias"] is gradients["0.bias"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["sym", None, "rw", "adjacency"])
@pytest.mark.parametrize("norm_matching", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_identity_returns_the_input_bitwise(method, kind, norm_matching, dtype):
    pair = make(identity(), method, kind=kind, norm_matching=norm_matching)
    gradients = gradients_of(dtype)
    gradients["0.weight"][0] = -0.0
    filtered, _ = pair.update(gradients, pair.init(gradients))
    for name, value in filtered.items():
        assert torch.equal(value, gradients[name])
        assert torch.equal(torch.signbit(value), torch.signbit(gradients[name]))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("scheme", ["rows", "columns"])
@pytest.mark.parametrize("response", RESPONSES, ids=shown)
def test_without_norm_matching_a_filter_is_linear(method, scheme, response):
    pair = make(response, method, scheme)
    one, other = gradients_of(torch.float64), {k: v.flip(0) for k, v in gradients_of(torch.float64).items()}
    both = {name: 2 * one[name] - 3 * other[name] for name in one}
    states = pair.init(one)
    left, right = pair.update(one, states)[0], pair.update(other, states)[0]
    for name, value in pair.update(both, states)[0].items():
        if name.endswith("weight"):
            torch.testing.assert_close(value, 2 * left[name] - 3 * right[name])


@pytest.mark.parametrize("response", [heat(2.0), tikhonov(1.0), highpass(0.9)], ids=shown)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_norm_matching_keeps_each_tables_norm(response, dtype):
    pair = make(response, "exact", norm_matching=True)
    gradients = gradients_of(dtype)
    filtered, _ = pair.update(gradients, pair.init(gradients))
    for name in SIZES:
        # 8 bits of bfloat16, averaged over the entries of a table.
        expected = gradients[name].double().norm()
        torch.testing.assert_close(filtered[name].double().norm(), expected, rtol=5e-3, atol=0)


def test_norm_matching_of_what_is_filtered_away_stays_zero():
    pair = make(lambda x: torch.zeros_like(x), "exact", norm_matching=True)
    gradients = gradients_of(torch.float64)
    filtered, _ = pair.update(gradients, pair.init(gradients))
    torch.testing.assert_close(filtered["0.weight"], torch.zeros(9, 5, dtype=torch.float64))


def test_state_counts_and_is_tensors_only():
    pair = make(heat(1.0), "exact")
    gradients = gradients_of(torch.float32)
    first = pair.init(gradients)
    _, second = pair.update(gradients, first)
    _, third = pair.update(gradients, {name: value.clone() for name, value in second.items()})
    assert [int(state["count"]) for state in (first, second, third)] == [0, 1, 2]
    assert all(isinstance(value, torch.Tensor) for value in third.values())


def test_a_table_without_its_gradient_is_left_out():
    pair = make(heat(1.0), "exact")
    gradients = {"0.bias": torch.ones(9), "2.weight": torch.ones(4, 9)}
    assert set(pair.update(gradients, pair.init(gradients))[0]) == set(gradients)


@pytest.mark.parametrize("method", ["exact", "chebyshev"])
def test_the_pure_function_and_the_pair_agree(method):
    pair = make(heat(2.0), method)
    gradients = gradients_of(torch.float64)
    operators = {name: operator_of(size[0], "sym") for name, size in SIZES.items()}
    found = filter_gradients(gradients, operators, heat(2.0), method=method)
    for name, value in pair.update(gradients, pair.init(gradients))[0].items():
        torch.testing.assert_close(found[name], value)


def _projection(dtype=torch.float32, keep=False):
    table = node_tables(nn.Sequential(nn.Linear(5, 9), nn.Tanh(), nn.Linear(9, 4)))["0.weight"]
    vectors = torch.linalg.qr(torch.randn(9, 3, generator=torch.Generator().manual_seed(3))).Q
    return project(table, vectors, keep=keep), vectors


TRANSFORMS = {
    "filter": lambda: make(heat(2.0), "exact"),
    "filter with norm matching": lambda: make(heat(2.0), "exact", norm_matching=True),
    "clip": lambda: clip_by_global_norm(0.5),
    "project": lambda: _projection()[0],
    "keep": lambda: _projection(keep=True)[0],
    "masked": lambda: masked(make(heat(2.0), "exact"), ["0.weight"]),
    "masked by function": lambda: masked(clip_by_global_norm(0.5), lambda name: name.endswith("weight")),
    "chain": lambda: chain(clip_by_global_norm(1.0), make(heat(2.0), "exact"), _projection()[0]),
    "chain of a chain": lambda: chain(
        chain(make(heat(2.0), "exact")), masked(clip_by_global_norm(1.0), ["0.bias"])
    ),
    "empty chain": lambda: chain(),
}


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_every_transform_keeps_keys_shapes_dtypes_and_its_input(name, dtype):
    transform, gradients = TRANSFORMS[name](), gradients_of(dtype) | {"unused": None}
    before = {key: None if value is None else value.clone() for key, value in gradients.items()}
    state = transform.init(gradients)
    changed, after = transform.update(gradients, state, gradients)
    assert list(changed) == list(gradients)
    assert changed["unused"] is None
    assert after.keys() == state.keys()
    assert all(isinstance(value, torch.Tensor) for value in after.values())
    for key, value in before.items():
        if value is not None:
            assert torch.equal(gradients[key], value)
            assert (changed[key].shape, changed[key].dtype) == (value.shape, value.dtype)


def test_a_chain_is_one_after_the_other_and_keeps_each_state():
    first, second = make(heat(2.0), "exact"), clip_by_global_norm(0.5)
    gradients = gradients_of(torch.float32)
    both = chain(first, second)
    found, state = both.update(gradients, both.init(gradients))
    expected = second.update(first.update(gradients, first.init())[0], second.init())[0]
    assert all(torch.equal(found[name], expected[name]) for name in found)
    assert {name: int(value) for name, value in state.items()} == {"0/count": 1}


def test_clipping_is_that_of_torch():
    gradients = gradients_of(torch.float32)
    parameters = [nn.Parameter(torch.zeros_like(value)) for value in gradients.values()]
    for parameter, value in zip(parameters, gradients.values(), strict=True):
        parameter.grad = value.clone()
    nn.utils.clip_grad_norm_(parameters, 0.5)
    found = clip_by_global_norm(0.5).update(gradients, {})[0]
    for parameter, value in zip(parameters, found.values(), strict=True):
        torch.testing.assert_close(value, parameter.grad, rtol=1e-5, atol=0)  # torch adds 1e-6 to the norm


def test_clipping_of_a_small_norm_changes_no_bit_and_nan_stays_visible():
    gradients = gradients_of(torch.float32)
    found = clip_by_global_norm(1e6).update(gradients, {})[0]
    assert all(torch.equal(found[name], gradients[name]) for name in gradients)
    gradients["0.weight"][0, 0] = float("nan")
    assert torch.isnan(clip_by_global_norm(1e6).update(gradients, {})[0]["0.weight"]).any()
    assert clip_by_global_norm(1.0).update({"w": None}, {})[0] == {"w": None}


def test_clipping_of_large_gradients_is_as_exact_as_of_others():
    found, _ = clip_by_global_norm(1.0).update(
        {"w": torch.tensor([3e30, 4e30])}, {}
    )  # squares beyond float32
    torch.testing.assert_close(found["w"], torch.tensor([0.6, 0.8]))


def test_an_infinite_gradient_is_not_clipped_to_zeros():
    found, _ = clip_by_global_norm(1.0).update({"w": torch.tensor([float("inf")]), "b": torch.ones(2)}, {})
    assert not any(value.isfinite().any() for value in found.values())


def test_a_projection_takes_the_modes_out_or_keeps_them():
    (remove, vectors), (keep, _) = _projection(), _projection(keep=True)
    gradients = gradients_of(torch.float32)
    rest, along = (pair.update(gradients, {})[0]["0.weight"] for pair in (remove, keep))
    torch.testing.assert_close(vectors.T @ rest, torch.zeros(3, 5), rtol=0, atol=1e-5)  # float32
    torch.testing.assert_close(along, vectors @ (vectors.T @ gradients["0.weight"]))
    torch.testing.assert_close(rest + along, gradients["0.weight"])


def test_a_mask_hands_the_others_through_as_they_are():
    gradients = gradients_of(torch.float32)
    found = TRANSFORMS["masked"]().update(gradients, {"count": torch.tensor(0)})[0]
    assert found["2.weight"] is gradients["2.weight"]
    assert not torch.equal(found["0.weight"], gradients["0.weight"])


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: chain("clip"), TypeError, "pairs"),
        (lambda: clip_by_global_norm(0.0), ValueError, "> 0"),
        (lambda: clip_by_global_norm("1"), ValueError, "> 0"),
        (lambda: masked(clip_by_global_norm(1.0), "weight"), TypeError, "list of names"),
        (lambda: masked(clip_by_global_norm(1.0), ["w"]).update({"v": None}, {}), KeyError, "no gradients"),
        (lambda: project(_table(), torch.ones(9, 1)), ValueError, "orthonormal"),
        (lambda: project(_table(), torch.eye(4)), ValueError, "4 nodes"),
    ],
    ids=["chain", "zero", "text", "one name", "lost name", "not orthonormal", "other nodes"],
)
def test_what_no_transform_can_do_raises(call, error, words):
    with pytest.raises(error, match=words):
        call()


def _table():
    return node_tables(nn.Sequential(nn.Linear(5, 9)))["0.weight"]
