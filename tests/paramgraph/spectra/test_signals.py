import pytest
import torch

from paramgraph.spectra import check_signal, keep_tensor, linear_product, wide, working_dtype

MATRIX = torch.arange(6, dtype=torch.float64).reshape(2, 3)


@pytest.mark.parametrize("shape", [(3,), (3, 0), (3, 2)])
def test_vectors_and_matrices_on_the_nodes_pass(shape):
    check_signal(torch.ones(shape), 3)


@pytest.mark.parametrize("shape", [(), (2,), (2, 3), (3, 2, 1)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"\(3,\) or \(3, width\)"):
        check_signal(torch.ones(shape), 3)


def test_a_fixed_width_is_asked_for_exactly():
    check_signal(torch.ones(3, 2), 3, 2)
    with pytest.raises(ValueError, match=r"\(3, 2\), got \(3, 4\)"):
        check_signal(torch.ones(3, 4), 3, 2)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_entries_that_are_not_finite_are_refused_where_asked(bad):
    signal = torch.tensor([1.0, bad])
    with pytest.raises(ValueError, match="NaN or infinite"):
        check_signal(signal, 2)
    check_signal(signal, 2, finite=False)


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("wrong", [[1.0, 2.0], torch.ones(2, dtype=torch.int64), None])
def test_anything_but_a_floating_tensor_is_a_type_error(wrong):
    with pytest.raises(TypeError, match="floating torch tensor"):
        check_signal(wrong, 2)


def test_sums_are_in_float32_or_better():
    kinds = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    assert [working_dtype(torch.ones(1, dtype=kind)) for kind in kinds] == [torch.float32] * 3 + [
        torch.float64
    ]


def test_only_half_precision_is_widened():
    for kind in (torch.float32, torch.float64):
        X = torch.ones(2, dtype=kind)
        assert wide(X) is X
    assert wide(torch.ones(2, dtype=torch.bfloat16)).dtype == torch.float32


def test_a_factor_kept_in_inference_mode_can_be_saved_by_autograd():
    with torch.inference_mode():
        kept = keep_tensor(torch.ones(2), torch.device("cpu"), torch.float32)
    assert not kept.is_inference()


def product(X):
    return linear_product(X, lambda signal: MATRIX @ signal, lambda signal: MATRIX.T @ signal)


def test_backward_is_the_adjoint():
    X = torch.ones(3, 2, dtype=torch.float64, requires_grad=True)
    upstream = torch.tensor([[1.0, 0.0], [2.0, -1.0]], dtype=torch.float64)
    product(X).backward(upstream)
    assert torch.equal(X.grad, MATRIX.T @ upstream)


def test_first_and_second_derivatives_are_right():
    X = torch.ones(3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(product, X)
    assert torch.autograd.gradgradcheck(lambda signal: product(signal) ** 2, X)


def test_without_a_gradient_the_map_is_only_called():
    assert torch.equal(product(torch.ones(3, 1, dtype=torch.float64)), MATRIX.sum(dim=1, keepdim=True))
