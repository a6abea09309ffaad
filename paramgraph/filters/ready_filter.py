"""What every filter is that is ready for signals: it answers h(L) X, and says how it does so."""

from abc import ABC, abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from paramgraph.filters.response import ResponseFunction
from paramgraph.spectra import check_signal, keep_tensor, wide


class ThinFactors(NamedTuple):
    r"""The correction of a filter by its modes: the basis is kept once, and gains weigh what is few, U^T X.

    .. math:: (h(L) - I) X = U \operatorname{diag}(g)\, (U^T X) + r X

    `basis` is U (nodes, active), `gain` g and `surplus` h^2 - (1 + r)^2, both (active,), and `rest` r.
    """

    basis: Float[Tensor, "nodes active"]
    gain: Float[Tensor, " active"]
    surplus: Float[Tensor, " active"]
    rest: float


class ReadyFilter(ABC):
    """Apply one response to any number of signals; derive from it to bring another kind of filter.

    A filter has `nodes`, its `response`, and the `method` that runs with the `reason` why. It gives `is_identity` and
    `_delta`; the rest follows.
    """

    # A dataclass would take an inherited property for the default of its field.
    if TYPE_CHECKING:

        @property
        def nodes(self) -> int:
            """Number of nodes."""

        @property
        def response(self) -> ResponseFunction:
            """Give h, on tensors of eigenvalues."""

        @property
        def method(self) -> str:
            """What runs."""

        @property
        def reason(self) -> str:
            """Why this method runs, with what it does to modes that are not computed, or its error."""

    @property
    @abstractmethod
    def is_identity(self) -> bool:
        """Whether nothing is added, so that each bit of a signal is handed back."""

    @property
    def rank(self) -> int | None:
        """Number of modes that are used; None for a filter without modes of its nodes."""
        return None

    @property
    def order(self) -> int | None:
        """Order of the polynomial; None where there is none."""
        return None

    @property
    def modes(self) -> tuple[Float[Tensor, "nodes active"], Float[Tensor, " active"]] | None:
        """Eigenvectors that are kept, and what is added along each; None where a filter needs no such vectors."""
        return None

    def thin_factors(self, device: torch.device, dtype: torch.dtype) -> ThinFactors | None:
        """Give the correction by its modes, for a caller that applies it in place; or None."""
        return None

    def correction(
        self, X: Float[Tensor, " nodes *width"], check: bool = True
    ) -> Float[Tensor, " nodes *width"]:
        r"""Compute what the filter adds, :math:`(h(L) - I) X`: exactly zero for the identity.

        Of the shape, dtype and device of X, differentiable in X; bf16 and fp16 are summed in float32.

        Parameters
        ----------
        X : Tensor of shape (nodes,) or (nodes, width)
            Signal of any floating dtype on any device; not changed. A product filters matrices of one shape.
        check : bool, default True
            Look for NaN and infinity first; on an accelerator this waits for the device.

        Raises
        ------
        ValueError
            If X has another shape, or is not finite.
        TypeError
            If X is no floating tensor.
        """
        check_signal(X, *self._signal_shape, finite=check)
        if self._leaves(X):
            return torch.zeros_like(X)
        return self._delta(self._columns(wide(X))).reshape(X.shape).to(X.dtype)

    def __call__(
        self, X: Float[Tensor, " nodes *width"], check: bool = True
    ) -> Float[Tensor, " nodes *width"]:
        """Filter a signal; cost and errors are those of `correction`. The identity gives back every bit."""
        check_signal(X, *self._signal_shape, finite=check)
        if self._leaves(X):
            return X.clone()
        signal = self._columns(wide(X))
        return (signal + self._delta(signal)).reshape(X.shape).to(X.dtype)

    @property
    def _signal_shape(self) -> tuple[int, int | None]:
        """Rows and columns that a signal must have; None: any number of columns, or a vector."""
        return self.nodes, None

    def _leaves(self, X: Tensor) -> bool:
        return self.is_identity or not X.numel()

    def _columns(self, X: Tensor) -> Tensor:
        """Lay a signal out as `_delta` takes it."""
        return X

    def _parts(self) -> dict[str, Tensor]:
        """Give the float64 tensors that `_delta` needs."""
        return {}

    @cached_property
    def _copies(self) -> dict[tuple[torch.device, torch.dtype], dict[str, Tensor]]:
        return {}

    def _factors(self, device: torch.device, dtype: torch.dtype) -> dict[str, Tensor]:
        """Copy the parts to a device, once for each dtype."""
        key = device, dtype
        if key not in self._copies:
            self._copies[key] = {name: keep_tensor(part, *key) for name, part in self._parts().items()}
        return self._copies[key]

    @abstractmethod
    def _delta(self, signal: Tensor) -> Tensor:
        """Compute the correction of a float32 or float64 signal."""
