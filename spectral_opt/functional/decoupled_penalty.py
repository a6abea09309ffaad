"""The decoupled step of the penalty: outside the optimizer, as AdamW decays weights."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from paramgraph._checks import non_negative
from paramgraph.filters import ReadyFilter, ResponseFunction, solve_shifted
from paramgraph.spectra import SignalOperator, wide
from spectral_opt.functional.penalty import OperatorLike, checked_operator, penalty_gradient


def decoupled_step(
    X: Float[Tensor, "nodes width"],
    operator: OperatorLike,
    ridge: float,
    step: float,
    prepare: Callable[[ResponseFunction], ReadyFilter] | None = None,
) -> tuple[Float[Tensor, "nodes width"], Literal["explicit", "proximal"]]:
    r"""Descend the penalty by one step, the way AdamW decays weights: outside the optimizer.

    .. math::

        X \mapsto X - 2 s (L + \text{ridge}\, I) X \quad\text{while } 2 s (\lambda_{max} + \text{ridge}) < 1,
        \qquad\text{else } X \mapsto (I + 2 s (L + \text{ridge}\, I))^{-1} X

    The second, the proximal step, is stable for every s; the two agree to first order in s. With `prepare`, which makes
    a filter of the operator for any response, it is that filter; else it is solved by conjugate gradients in float64,
    whose number of iterations grows with the square root of 1 + 2 s lambda_max. `step` is s, the learning
    rate times the factor of the penalty. Gives X after the step, in its dtype and on its device, and which step it was.
    A ValueError where `step` or `ridge` is negative or not finite, the operator is not symmetric, or where the penalty
    has no proximal step: at an eigenvalue of L + ridge I of -1 / (2 s) or below, which only an adjacency can have.

    Examples
    --------
    >>> decoupled_step(torch.ones(2, 1), None, ridge=1.0, step=2.0)
    (tensor([[0.2000],
            [0.2000]]), 'proximal')
    """
    known = checked_operator(X, operator)
    ridge = non_negative("ridge", ridge)
    if not (0.0 <= step < float("inf")):
        raise ValueError(f"step is {step!r}; learning rate times penalty must be finite and >= 0")
    if known is not None and not known.symmetric:
        raise ValueError("a decoupled step needs a symmetric operator; use normalization 'sym' or None")
    kind = step_kind(known, ridge, step)
    if kind == "explicit":
        with torch.no_grad():
            signal = wide(X.detach())
            return (signal - step * penalty_gradient(signal, known, ridge)).to(X.dtype), kind
    if prepare is not None:
        return prepare(ProximalResponse(step, ridge))(X.detach(), check=False), kind
    return _proximal(X.detach(), known, 2.0 * step, ridge), kind


@dataclass(frozen=True)
class ProximalResponse:
    """h of the proximal step on eigenvalues; equal ones are equal, so that its filter is made once for each rate."""

    step: float
    ridge: float

    def __call__(self, eigenvalues: Float[Tensor, " modes"]) -> Float[Tensor, " modes"]:
        """Divide by 1 + 2 step (eigenvalue + ridge); a ValueError where that is not positive."""
        divisors = 1.0 + 2.0 * self.step * (eigenvalues + self.ridge)
        if bool((divisors <= 0.0).any()):
            raise ValueError(
                f"there is no proximal step of size {self.step:.3g} at the eigenvalue {float(eigenvalues.min()):.3g}: "
                "take a smaller learning rate or penalty, a larger ridge, or an operator without negative eigenvalues"
            )
        return 1.0 / divisors


def step_kind(operator: SignalOperator | None, ridge: float, step: float) -> Literal["explicit", "proximal"]:
    """Say which step `decoupled_step` takes: "explicit" while 2 step (lambda_max + ridge) < 1, else "proximal"."""
    bound = 0.0 if operator is None else operator.bound
    return "explicit" if 2.0 * step * (bound + ridge) < 1.0 else "proximal"


def _proximal(X: Tensor, operator: SignalOperator | None, step: float, ridge: float) -> Tensor:
    """Solve (I + step (L + ridge I)) Y = X."""
    scale = 1.0 + step * ridge
    if operator is None:
        return (X.double() / scale).to(X.dtype)
    return solve_shifted(operator, X, step, scale)
