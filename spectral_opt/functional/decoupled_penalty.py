"""The decoupled step of the penalty: outside the optimizer, as AdamW decays weights."""

from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from spectral_opt.functional.penalty import checked_operator, is_symmetric, multiply, penalty_gradient
from spectral_opt.half_precision import wide


def decoupled_step(
    X: Float[Tensor, "nodes width"], operator: Any, ridge: float, step: float, bound: float | None = None
) -> tuple[Float[Tensor, "nodes width"], str]:
    r"""Descend the penalty by one step, the way AdamW decays weights: outside the optimizer.

    .. math::

        X \mapsto X - 2 s (L + \text{ridge}\, I) X \quad\text{while } 2 s (\lambda_{max} + \text{ridge}) < 1,
        \qquad\text{else } X \mapsto (I + 2 s (L + \text{ridge}\, I))^{-1} X

    The second, the proximal step, is stable for every s; the two agree to first order in s. It is solved by conjugate
    gradients in float64, whose number of iterations grows with the square root of 1 + 2 s lambda_max. `step` is s, the
    learning rate times the factor of the penalty; `bound` an upper bound of the eigenvalues, by default the operator's
    own. Gives X after the step, in its dtype and on its device, and "explicit" or "proximal". A ValueError where
    `step` is negative or not finite, or the operator is not symmetric.

    Examples
    --------
    >>> decoupled_step(torch.ones(2, 1), None, ridge=1.0, step=2.0)
    (tensor([[0.2000],
            [0.2000]]), 'proximal')
    """
    operator = checked_operator(X, operator)
    if not (0.0 <= step < float("inf")):
        raise ValueError(f"step is {step!r}; learning rate times penalty must be finite and >= 0")
    if not is_symmetric(operator):
        raise ValueError("a decoupled step needs a symmetric operator; use normalization 'sym' or None")
    kind = step_kind(operator, ridge, step, bound)
    if kind == "explicit":
        with torch.no_grad():
            signal = wide(X.detach())
            return (signal - step * penalty_gradient(signal, operator, ridge)).to(X.dtype), kind
    return _proximal(X.detach(), operator, 2.0 * step, ridge), kind


def step_kind(
    operator: Any, ridge: float, step: float, bound: float | None = None
) -> Literal["explicit", "proximal"]:
    """Say which step `decoupled_step` takes: "explicit" while 2 step (lambda_max + ridge) < 1, else "proximal"."""
    largest = _bound(operator) if bound is None else bound
    return "explicit" if 2.0 * step * (largest + ridge) < 1.0 else "proximal"


def _proximal(X: Tensor, operator: Any, step: float, ridge: float) -> Tensor:
    """Solve (I + step (L + ridge I)) Y = X, all columns at once."""
    scale = 1.0 + step * ridge
    target = X.double()
    if operator is None:
        return (target / scale).to(X.dtype)

    def system(Y: Tensor) -> Tensor:
        return scale * Y + step * multiply(operator, Y, False)

    def inner(left: Tensor, right: Tensor) -> Tensor:
        # Columns are systems of their own, unless the operator links them.
        product = left * right
        if getattr(operator, "spans_ranks", False):
            total: Tensor = operator.inner(product)
            return total
        return product.sum() if getattr(operator, "couples_columns", False) else product.sum(0)

    solution = target / scale
    residual = target - system(solution)
    direction = residual.clone()
    energy = inner(residual, residual)
    # 1e-12 of the signal: below float32's rounding, above what float64 can reach for any sane step.
    goal = 1e-24 * inner(target, target)
    # In exact arithmetic n iterations suffice; NaN compares False and ends the loop at once.
    for _ in range(2 * int(getattr(operator, "nodes", X.shape[0])) + 10):
        if not bool((energy > goal).any()):
            break
        image = system(direction)
        curvature = inner(direction, image)
        length = torch.where(curvature > 0, energy / curvature.clamp_min(1e-300), torch.zeros_like(energy))
        solution = solution + length * direction
        residual = residual - length * image
        renewed = inner(residual, residual)
        ratio = torch.where(energy > 0, renewed / energy.clamp_min(1e-300), torch.zeros_like(energy))
        direction = residual + ratio * direction
        energy = renewed
    return solution.to(X.dtype)


def _bound(operator: Any) -> float:
    if operator is None:
        return 0.0
    if isinstance(operator, Tensor):
        return float(operator.to_dense().abs().sum(1).max()) if operator.shape[0] else 0.0  # Gershgorin
    return float(operator.bound)
