import numpy as np
import pytest
import torch

from paramgraph import eigenpairs, laplacian
from paramgraph.spectra import KroneckerModes, KroneckerOperator, KroneckerProduct, KroneckerSum
from spectral_opt import low_rank_penalty_gradient, low_rank_penalty_value, penalty_value

from helpers.names import shown

OUT, IN, RANK = 7, 5, 3
SIZES = {"rows": OUT, "columns": IN}
AXES = ["rows", "columns", "sum", "product", "modes"]
RANDOM_WALK = {"rows of rw": "rows", "columns of rw": "columns"}


def operator_of(axis):
    if axis in ("sum", "product"):
        join = KroneckerSum if axis == "sum" else KroneckerProduct
        return join(operator_of("rows"), operator_of("columns"))
    if axis == "modes":
        U, V = (eigenpairs(operator_of(side)).eigenvectors for side in SIZES)
        return KroneckerModes(U, V, torch.rand(OUT, IN, generator=torch.Generator().manual_seed(2)).double())
    side = RANDOM_WALK.get(axis, axis)
    weights = np.triu(np.random.default_rng(0).random((SIZES[side], SIZES[side])), 1)
    return laplacian(weights + weights.T, "rw" if axis in RANDOM_WALK else "sym")


def factors(dtype=torch.float64, seed=0, requires_grad=False):
    source = torch.Generator().manual_seed(seed)
    pair = (torch.randn(OUT, RANK, generator=source), torch.randn(RANK, IN, generator=source))
    return tuple(part.to(dtype).requires_grad_(requires_grad) for part in pair)


def explicit(B, A, operator, ridge, scaling, axis, start):
    delta = scaling * (B @ A - (start[0] @ start[1] if start else 0.0))
    if isinstance(operator, KroneckerOperator):
        return (delta * operator.times(delta)).sum() + ridge * delta.square().sum()
    return penalty_value(delta.T if axis == "columns" else delta, operator, ridge)


def axis_of(name):
    return name if name in SIZES else RANDOM_WALK.get(name, "entries")


@pytest.mark.parametrize("name", [*AXES, *RANDOM_WALK])
@pytest.mark.parametrize("ridge", [0.0, 0.4])
@pytest.mark.parametrize("from_zero", [True, False])
@pytest.mark.parametrize("with_graph", [True, False])
def test_value_and_gradients_equal_autograd_on_the_formed_product(name, ridge, from_zero, with_graph):
    operator, axis = operator_of(name) if with_graph else None, axis_of(name)
    start = None if from_zero else factors(seed=1)
    B, A = factors(requires_grad=True)
    expected = explicit(B, A, operator, ridge, 1.5, axis, start)
    gradients = torch.autograd.grad(expected, (B, A), allow_unused=True)
    found = low_rank_penalty_value(B, A, operator, ridge, 1.5, axis, start)
    torch.testing.assert_close(found, expected)
    for closed, reference in zip(
        low_rank_penalty_gradient(B, A, operator, ridge, 1.5, axis, start), gradients, strict=True
    ):
        torch.testing.assert_close(closed, reference)
        assert not closed.requires_grad


@pytest.mark.parametrize("name", AXES)
def test_the_value_is_differentiable(name):
    B, A = factors(requires_grad=True)
    operator, axis = operator_of(name), axis_of(name)
    found = torch.autograd.grad(low_rank_penalty_value(B, A, operator, 0.1, 2.0, axis), (B, A))
    for one, other in zip(found, low_rank_penalty_gradient(B, A, operator, 0.1, 2.0, axis), strict=True):
        torch.testing.assert_close(one, other)


def test_an_adapter_at_its_start_has_no_penalty_and_no_gradient():
    B, A = factors()
    assert float(low_rank_penalty_value(B, A, operator_of("rows"), 0.3, start=(B, A))) == pytest.approx(
        0.0, abs=1e-12
    )  # a difference of equal sums in float64
    for gradient in low_rank_penalty_gradient(B, A, operator_of("rows"), 0.3, start=(B, A)):
        torch.testing.assert_close(gradient, torch.zeros_like(gradient))


def test_a_fresh_adapter_has_exactly_no_penalty():
    B, A = torch.zeros(OUT, RANK), factors(torch.float32)[1]
    assert float(low_rank_penalty_value(B, A, operator_of("rows"), 0.3)) == 0.0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_is_summed_in_float32(dtype):
    B, A = factors(dtype)
    value = low_rank_penalty_value(B, A, operator_of("rows"), 0.1)
    assert value.dtype == torch.float32
    expected = low_rank_penalty_value(B.double(), A.double(), operator_of("rows"), 0.1)
    torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=0)  # float32
    assert [part.dtype for part in low_rank_penalty_gradient(B, A, operator_of("rows"))] == [dtype, dtype]


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"axis": "blocks"}, "axis is 'blocks'"),
        ({"B": torch.ones(OUT, 2)}, "make no product"),
        ({"start": (torch.ones(OUT, 1), torch.ones(1, IN))}, "start has the shapes"),
        ({"axis": "columns"}, "nodes"),
        ({"axis": "entries"}, "'entries' goes with what acts on matrices"),
        ({"operator": operator_of("product")}, "'rows' and 'columns' with a square matrix"),
        (
            {"operator": operator_of("product"), "axis": "entries", "A": torch.ones(RANK, 4)},
            r"shape \(7, 5\)",
        ),
    ],
    ids=shown,
)
@pytest.mark.parametrize("function", [low_rank_penalty_value, low_rank_penalty_gradient])
def test_what_does_not_fit_raises(function, change, words):
    B, A = factors(torch.float32)
    with pytest.raises((ValueError, TypeError), match=words):
        function(**({"B": B, "A": A, "operator": operator_of("rows")} | change))
