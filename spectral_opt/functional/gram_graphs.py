r"""Filter the gradient of a matrix by a power of the eigenvalues of its own Gram graphs.

.. math:: L \leftarrow \beta L + G G^T, \qquad R \leftarrow \beta R + G^T G, \qquad
    (U^T G V)_{ij} \mapsto (b_i + \epsilon)^{-p} (a_j + \epsilon)^{-p} (U^T G V)_{ij}

with L = U diag(b) U^T and R = V diag(a) V^T over the means of their eigenvalues. p < 0 keeps the strong modes and damps
the weak ones, the paper's low-pass; p = 0 is the plain gradient; p = 1/4 is the rule of Shampoo (arXiv 1802.09568),
which makes all modes of one gradient equal, as Muon does.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from paramgraph._checks import is_number, non_negative, whole_number
from paramgraph.filters import EXACT_NODES, power
from paramgraph.spectra import wide
from spectral_opt.functional.filtering import GradientFilter, Tensors, match_norm

# float32 knows the eigenvalues of a Gram matrix to 6e-8 of the largest, which is at most as many times their mean as
# there are nodes: 2e-4 of it for 4,096.
DAMPING = 1e-4


@dataclass(frozen=True)
class GramPower:
    """Follow the Gram graphs of one matrix's gradients, and filter by a power of their eigenvalues.

    `decay` is beta; 1 adds all gradients up. Eigenvectors are solved for at the first gradient that is not zero and
    after every `refresh` others, each side of at most `largest` nodes; a larger side has no graph. `damping`, epsilon,
    is in units of the mean eigenvalue. The state of a matrix, empty at first, is tensors and numbers. A ValueError, or
    a TypeError, says which of them cannot be.
    """

    p: float = 0.0
    decay: float = 0.95
    refresh: int = 10
    damping: float = DAMPING
    largest: int = EXACT_NODES

    def __post_init__(self) -> None:
        if not is_number(self.p) or not math.isfinite(self.p):
            raise ValueError(
                f"p is {self.p!r}; it must be a finite number: < 0 a low-pass, 0 nothing, 1/4 Shampoo"
            )
        if not 0 < non_negative("decay", self.decay) <= 1:
            raise ValueError(f"decay is {self.decay!r}; it must lie above 0 and at most at 1")
        if not non_negative("damping", self.damping) and self.p > 0:
            raise ValueError(
                f"damping is 0, and p={self.p!r} is infinite at the eigenvalue 0; give damping > 0"
            )
        for name in ("refresh", "largest"):
            whole_number(name, getattr(self, name), 1)

    def follow(self, G: Float[Tensor, "rows columns"], state: Mapping[str, Any]) -> Tensors:
        """Give the state after one more gradient; of one that is not finite nothing is taken."""
        X, count = wide(G), int(state.get("count", 0))
        new: Tensors = {**state, "count": count + 1}
        for side, signal in (("rows", X), ("columns", X.T)):
            if len(signal) > self.largest:
                continue
            gram, known = signal @ signal.T, state.get(f"{side}/gram")
            before = torch.zeros_like(gram) if known is None else self.decay * known
            # Chosen by `where` and not by `if`: nothing waits for an accelerator.
            gram = torch.where(torch.isfinite(gram).all(), before + gram, before)
            new[f"{side}/gram"] = gram
            if count % self.refresh == 0 or f"{side}/basis" not in state:
                values, vectors = torch.linalg.eigh(gram)
                mean = values.clamp_min(0).mean()
                if mean > 0:
                    new |= {f"{side}/basis": vectors, f"{side}/values": values.clamp_min(0) / mean}
        return new

    def into_modes(
        self, X: Float[Tensor, "rows columns"], state: Mapping[str, Any]
    ) -> Float[Tensor, "rows columns"]:
        """Rotate a matrix into the modes of its graphs, U^T X V."""
        U, V = state.get("rows/basis"), state.get("columns/basis")
        X = X if U is None else U.T @ X
        return X if V is None else X @ V

    def out_of_modes(
        self, X: Float[Tensor, "rows columns"], state: Mapping[str, Any]
    ) -> Float[Tensor, "rows columns"]:
        """Rotate a matrix back, U X V^T."""
        U, V = state.get("rows/basis"), state.get("columns/basis")
        X = X if U is None else U @ X
        return X if V is None else X @ V.T

    def amplify(
        self, X: Float[Tensor, "rows columns"], state: Mapping[str, Any]
    ) -> Float[Tensor, "rows columns"]:
        """Multiply each mode by its power, and give the whole the norm that it had; X itself for p = 0."""
        if not self.p:
            return X
        response, result = power(self.p, self.damping), X
        if "rows/values" in state:
            result = response(state["rows/values"])[:, None] * result
        if "columns/values" in state:
            result = result * response(state["columns/values"])
        return match_norm(result, X)

    def filter(
        self, G: Float[Tensor, "rows columns"], state: Mapping[str, Any]
    ) -> Float[Tensor, "rows columns"]:
        """Filter a gradient by the graphs of a state; its dtype stays, and p = 0 changes no bit."""
        if not self.p:
            return G
        X = self.into_modes(wide(G), state)
        return self.out_of_modes(self.amplify(X, state), state).to(G.dtype)


def gram_power(
    p: float, *, decay: float = 0.95, refresh: int = 10, damping: float = DAMPING, largest: int = EXACT_NODES
) -> GradientFilter:
    """Make the (init, update) pair that filters each gradient with two axes by a power of its own Gram graphs.

    The arguments are those of `GramPower`. Graphs include the gradient that they filter. Gradients with other axes,
    empty ones and None are handed through. The state is a dictionary of tensors and numbers, "<name>/<part>".
    """
    rule = GramPower(p, decay, refresh, damping, largest)

    def init(parameters: Mapping[str, Any] | None = None) -> Tensors:
        return {}

    def update(
        gradients: Mapping[str, Any], state: Mapping[str, Any], parameters: Mapping[str, Any] | None = None
    ) -> tuple[Tensors, Tensors]:
        result, states = dict(gradients), dict(state)
        for name, gradient in gradients.items():
            if gradient is None or gradient.ndim != 2 or not gradient.numel() or not p:
                continue
            prefix = f"{name}/"
            own = {k.removeprefix(prefix): value for k, value in state.items() if k.startswith(prefix)}
            own = rule.follow(gradient, own)
            result[name] = rule.filter(gradient, own)
            states |= {prefix + key: value for key, value in own.items()}
        return result, states

    return GradientFilter(init, update)
