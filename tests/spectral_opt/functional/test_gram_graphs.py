"""A power of the Gram graphs of a matrix's own gradients: closed forms, properties, and Shampoo by its own code."""

import pytest
import torch
from pytorch_optimizer import Shampoo
from torch import nn

from spectral_opt.functional import GramPower, gram_power


def drawn(seed, shape=(6, 7), dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def filtered(pair, gradients):
    state, results = pair.init(), []
    for gradient in gradients:
        result, state = pair.update({"w": gradient}, state)
        results.append(result["w"])
    return results


@pytest.mark.parametrize("p", [-0.5, -0.25, 0.125, 0.25, 0.5])
def test_of_one_gradient_each_singular_value_is_raised_to_one_minus_four_p(p):
    G = drawn(0, (5, 5))
    (found,) = filtered(gram_power(p, damping=1e-12), [G])
    U, S, Vh = torch.linalg.svd(G)
    expected = U @ torch.diag(S ** (1 - 4 * p)) @ Vh
    # b and a are squares of singular values; the smallest here is .04 of the largest, in float64.
    torch.testing.assert_close(found, expected * G.norm() / expected.norm(), rtol=1e-6, atol=1e-6)


def test_a_quarter_is_the_direction_of_shampoo_over_20_steps():
    weight, epsilon = nn.Parameter(torch.zeros(6, 7, dtype=torch.float64)), 1e-9
    peer = Shampoo([weight], lr=1.0, matrix_eps=epsilon)
    gradients = [drawn(step) for step in range(20)]
    ours = filtered(gram_power(0.25, decay=1.0, refresh=1, damping=1e-10), gradients)
    for gradient, found in zip(gradients, ours, strict=True):
        before, weight.grad = weight.detach().clone(), gradient.clone()
        peer.step()
        change = before - weight.detach()
        # Its epsilon is absolute, ours of the mean eigenvalue; both so small that they count in no mode of a gradient.
        torch.testing.assert_close(found, change * gradient.norm() / change.norm(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("p", [-0.25, 0.25])
def test_rotated_gradients_give_the_rotated_result(p):
    gradients, Q, P = (
        [drawn(step) for step in range(4)],
        torch.linalg.qr(drawn(8, (6, 6)))[0],
        torch.linalg.qr(drawn(9, (7, 7)))[0],
    )
    plain = filtered(gram_power(p, refresh=2), gradients)
    turned = filtered(gram_power(p, refresh=2), [Q @ gradient @ P for gradient in gradients])
    for one, other in zip(plain, turned, strict=True):
        torch.testing.assert_close(
            Q @ one @ P, other, rtol=1e-8, atol=1e-8
        )  # float64, and 1e-4 to the power 1/2


@pytest.mark.parametrize("p", [-1.0, 0.25])
def test_the_norm_stays_and_the_spectrum_does_not(p):
    gradients = [drawn(step) for step in range(3)]
    for gradient, found in zip(gradients, filtered(gram_power(p), gradients), strict=True):
        torch.testing.assert_close(found.norm(), gradient.norm())
        assert (found - gradient).norm() > 0.1 * gradient.norm()


def test_a_power_of_zero_changes_no_bit_and_keeps_no_graph():
    pair, gradient = gram_power(0.0), drawn(0)
    result, state = pair.update({"w": gradient}, pair.init())
    assert result["w"] is gradient
    assert state == {}


def test_graphs_are_sums_that_fade_and_modes_wait_for_a_refresh():
    rule, state, gradients = GramPower(0.25, decay=0.5, refresh=2), {}, [drawn(step) for step in range(3)]
    states = []
    for gradient in gradients:
        state = rule.follow(gradient, state)
        states.append(state)
    first, second, third = (gradient @ gradient.T for gradient in gradients)
    torch.testing.assert_close(states[2]["rows/gram"], 0.25 * first + 0.5 * second + third)
    assert states[1]["rows/basis"] is states[0]["rows/basis"]
    U, values = states[2]["rows/basis"], states[2]["rows/values"]
    torch.testing.assert_close(values.mean(), torch.tensor(1.0, dtype=torch.float64))
    diagonal = U.T @ states[2]["rows/gram"] @ U
    torch.testing.assert_close(diagonal, torch.diag(values) * diagonal.diagonal().mean(), rtol=0, atol=1e-10)


def test_a_side_of_more_nodes_has_no_graph():
    G = drawn(0, (5, 9))
    (found,) = filtered(gram_power(0.25, largest=8, damping=1e-12), [G])
    U, S, Vh = torch.linalg.svd(G, full_matrices=False)
    expected = U @ torch.diag(S**0.5) @ Vh
    torch.testing.assert_close(found, expected * G.norm() / expected.norm(), rtol=1e-6, atol=1e-6)


def test_bfloat16_is_followed_in_float32_and_given_back():
    pair, gradient = gram_power(0.25), drawn(0, dtype=torch.bfloat16)
    result, state = pair.update({"w": gradient}, pair.init())
    assert result["w"].dtype == torch.bfloat16
    assert state["w/rows/gram"].dtype == torch.float32


def test_without_any_gradient_yet_it_is_the_plain_one_and_the_first_makes_the_graph():
    zero, gradient = torch.zeros(6, 7), drawn(0, dtype=torch.float32)
    results = filtered(gram_power(0.25), [zero, gradient])
    assert torch.equal(results[0], zero)
    torch.testing.assert_close(results[1], filtered(gram_power(0.25), [gradient])[0])


def test_what_is_not_finite_stays_visible_and_does_not_reach_the_graphs():
    pair, gradient = gram_power(0.25, refresh=1), drawn(0)
    broken = gradient.clone()
    broken[0, 0] = torch.nan
    _, state = pair.update({"w": gradient}, pair.init())
    result, after = pair.update({"w": broken}, state)
    assert not torch.isfinite(result["w"]).all()
    torch.testing.assert_close(after["w/rows/gram"], 0.95 * state["w/rows/gram"])


def test_other_gradients_are_handed_through():
    pair, others = (
        gram_power(0.25),
        {"b": torch.ones(3), "none": None, "empty": torch.zeros(0, 3), "conv": torch.ones(2, 2, 2)},
    )
    result, state = pair.update(others, pair.init())
    assert all(result[name] is value for name, value in others.items())
    assert state == {}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"p": torch.inf}, "p is inf"),
        ({"decay": 0.0}, "decay is 0.0; it must lie above 0"),
        ({"decay": 1.5}, "decay is 1.5"),
        ({"p": 0.25, "damping": 0.0}, "give damping > 0"),
        ({"refresh": 0}, "refresh"),
        ({"largest": 0}, "largest"),
    ],
)
def test_what_cannot_be_is_refused(options, words):
    with pytest.raises((ValueError, TypeError), match=words):
        gram_power(**({"p": 0.25} | options))
