r"""A filter that is ready: one response on one operator, for any number of signals.

.. math:: h(L) X = X + U (h(\Lambda) - I) U^T X
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from paramgraph.filters._chebyshev_recurrence import chebyshev_product
from paramgraph.filters.design import FilterDesign
from paramgraph.filters.response import ResponseFunction
from paramgraph.spectra import ShiftOperator, check_signal, keep_tensor, linear_product, working_dtype


@dataclass(frozen=True, eq=False, repr=False)
class GraphFilter:
    r"""Apply one response on one operator to any number of signals.

    Made by `prepare_filter`. Eigenvectors are copied to each device and dtype once.

    Parameters
    ----------
    operator : ShiftOperator
        L.
    response : callable
        h.
    design : FilterDesign
        What stands for h(L) - I.
    precompute : bool
        Form :math:`U (h - I) U^T` as one matrix of nodes x nodes where that saves time from the second
        signal on.

    Examples
    --------
    >>> import networkx as nx
    >>> from paramgraph import prepare_filter
    >>> from paramgraph import tikhonov
    >>> from paramgraph import laplacian
    >>> smooth = prepare_filter(laplacian(nx.complete_graph(3), None), tikhonov(1.0))
    >>> smooth(torch.tensor([1.0, 2.0, 6.0]))  # the mean, 3, and a quarter of the rest
    tensor([2.5000, 2.7500, 3.7500])
    """

    operator: ShiftOperator
    response: ResponseFunction
    design: FilterDesign
    precompute: bool = True

    def __repr__(self) -> str:
        return f"GraphFilter({self.response!r}, {self.method}, nodes={self.nodes}: {self.reason})"

    @property
    def method(self) -> str:
        """What runs: "exact", "lowrank", "chebyshev" or "solve"."""
        return self.design.method

    @property
    def reason(self) -> str:
        """Why this method runs, with its tail or its error."""
        return self.design.reason

    @property
    def rank(self) -> int | None:
        """Number of modes that are used; None for "chebyshev" and "solve"."""
        return self.design.rank

    @property
    def order(self) -> int | None:
        """Order of the polynomial; None for the others."""
        return self.design.order

    @property
    def error(self) -> float:
        r"""Bound of the error: :math:`\|Y - h(L) X\| \le error \cdot \|X\|`, but for rounding.

        Of the polynomial for "chebyshev", an estimate where the response jumps; of the stopped iteration for "solve"
        by conjugate gradients; 0 for the others. For "rw" the norm is weighted by the degrees.
        """
        return self.design.error

    @property
    def nodes(self) -> int:
        """Number of nodes."""
        return self.operator.nodes

    @cached_property
    def is_identity(self) -> bool:
        """Whether the correction is exactly zero, so that it can be skipped."""
        return self.design.is_zero or not self.nodes

    def correction(
        self, X: Float[Tensor, "nodes *width"], check: bool = True
    ) -> Float[Tensor, "nodes *width"]:
        r"""Compute what the filter adds, :math:`(h(L) - I) X`.

        Parameters
        ----------
        X : Tensor of shape (nodes,) or (nodes, width)
            Signal of any floating dtype on any device; not changed.
        check : bool, default True
            Look for NaN and infinity first; on an accelerator this waits for the device.

        Returns
        -------
        Tensor of the shape of `X`
            Of its dtype and device, differentiable in X; bf16 and fp16 are summed in float32. Exactly zero for
            the identity. Cost in operations for a width d: exact 2 nodes^2 d, lowrank 4 nodes rank d, chebyshev
            4 order edges d, solve 4 entries of the factor x d. "solve" runs in float64 on the CPU, wherever X is.

        Raises
        ------
        ValueError
            If X has other rows, or is not finite.
        TypeError
            If X is not a floating tensor.
        """
        check_signal(X, self.nodes, finite=check)
        if self.is_identity:
            return torch.zeros_like(X)
        return self._delta(self._working(X)).reshape(X.shape).to(X.dtype)

    def __call__(self, X: Tensor, check: bool = True) -> Float[Tensor, "nodes *width"]:
        """Filter a signal; cost and errors are those of `correction`. The identity gives back every bit."""
        check_signal(X, self.nodes, finite=check)
        if self.is_identity:
            return X.clone()
        signal = self._working(X)
        return (signal + self._delta(signal)).reshape(X.shape).to(X.dtype)

    def thin_factors(self, device: Any, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, float] | None:
        r"""Give the correction as a product of two thin factors, for a caller that applies it in place.

        .. math:: (h(L) - I) X = A (U^T X) + r X, \qquad A = U \operatorname{diag}(g)

        Parameters
        ----------
        device : torch.device or str
            Where they shall lie; copied once.
        dtype : torch.dtype
            float32 or float64.

        Returns
        -------
        (Tensor, Tensor, Tensor, float) or None
            U and A of shape (nodes, active), columns of zeros added to a multiple of 16, :math:`h^2 - (1 + r)^2`
            of that shape (active,), and r. None where the filter is no such product of orthonormal modes, or where
            one matrix of nodes x nodes costs less.
        """
        factors = self._factors(device, dtype)
        gain = self.design.gain
        if gain is None or "basis" not in factors or "scale" in factors:
            return None
        if "surplus" not in factors:
            kept = 1.0 + self.design.rest
            surplus = _padded((gain + kept).square() - kept**2)
            factors["surplus"] = keep_tensor(surplus, torch.device(device), dtype)
        return factors["basis"], factors["weighted"], factors["surplus"], float(self.design.rest)

    def _working(self, X: Tensor) -> Tensor:
        return X.to(working_dtype(X)).reshape(self.nodes, -1) if X.numel() else X.new_zeros(self.nodes, 0)

    def _delta(self, signal: Tensor) -> Tensor:
        design = self.design
        factors = self._factors(signal.device, signal.dtype)
        scale = factors.get("scale")
        # A caller's autocast would round the products to half precision.
        with torch.autocast(signal.device.type, enabled=False):
            if scale is not None:
                signal = scale * signal
            if design.coefficients is not None:
                interval = design.operator.interval
                delta = chebyshev_product(design.operator, signal, design.coefficients, interval)
            elif design.gamma is not None:
                delta = linear_product(signal, self._solve)
            elif "matrix" in factors:
                delta = factors["matrix"] @ signal
            else:
                delta = factors["weighted"] @ (factors["basis"].T @ signal)
            if design.rest:
                delta = delta + design.rest * signal
            return delta if scale is None else delta / scale

    def _solve(self, signal: Tensor) -> Tensor:
        right = signal.to("cpu", torch.float64).numpy()
        return torch.from_numpy(self.design.solver(right) - right).to(signal)

    @cached_property
    def _copies(self) -> dict[tuple[torch.device, torch.dtype], dict[str, Tensor]]:
        return {}

    def _factors(self, device: torch.device, dtype: torch.dtype) -> dict[str, Tensor]:
        """Copy what the product needs to a device, once for each dtype."""
        if (device, dtype) not in self._copies:
            design, wanted = self.design, {}
            if design.basis is not None and design.gain is not None:
                weighted = design.basis * design.gain
                # One product of nodes x nodes is cheaper than two with more than half as many modes.
                if self.precompute and 2 * design.basis.shape[1] >= self.nodes:
                    wanted = {"matrix": weighted @ design.basis.T}
                else:
                    wanted = {"basis": _padded(design.basis), "weighted": _padded(weighted)}
            if design.scale is not None:
                wanted["scale"] = design.scale[:, None]
            self._copies[device, dtype] = {
                name: keep_tensor(item, device, dtype) for name, item in wanted.items()
            }
        return self._copies[device, dtype]


def _padded(factor: Tensor) -> Tensor:
    # 31 columns take a third longer than 32: rows that begin between two vector registers. Zeros change no product.
    missing = -factor.shape[-1] % 16
    return factor if factor.shape[-1] < 16 else torch.nn.functional.pad(factor, (0, missing))
