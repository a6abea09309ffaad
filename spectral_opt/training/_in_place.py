r"""Products that a step adds to gradients and parameters in place.

Where a table is a view of one parameter nothing is gathered, scattered or copied:

.. math:: G \leftarrow G + \alpha (L + \text{ridge}\, I) X,
    \qquad G \leftarrow (1 + r)\, G + U \operatorname{diag}(g)\, (U^T G)

with r the correction of the modes that a low-rank filter did not compute. Each is one sparse or thin product that reads
and writes G once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import scipy.sparse as sp
import torch
from jaxtyping import Float
from torch import Tensor, nn

from paramgraph.filters import ReadyFilter
from paramgraph.nodes import NodeTable
from paramgraph.spectra import ShiftOperator, SignalOperator, sparse_tensor

# Half precision is summed in float32, which in place it cannot be; a subclass (DTensor) has rules of its own.
_DTYPES = (torch.float32, torch.float64)
_KINDS = (Tensor, nn.Parameter)
# Features at a time of nodes that are columns: of 32 to 384 about the best for 384 and 1,536 nodes.
_PART = 128


def writable_view(table: NodeTable, tensors: Mapping[str, Tensor]) -> Float[Tensor, "nodes width"] | None:
    """View what a table covers as one matrix (nodes, width) that shares memory with its parameter.

    None where the table is more than one slice, no view of it, or neither float32 nor float64.
    """
    if len(table.slices) != 1:
        return None
    value = tensors[table.slices[0].parameter]
    if type(value) not in _KINDS or value.dtype not in _DTYPES or value.layout != torch.strided:
        return None
    X = table.slices[0].take(value.detach())
    inside = X.untyped_storage().data_ptr() == value.untyped_storage().data_ptr()
    return X if inside and tuple(X.shape) == table.shape else None


@dataclass(frozen=True, eq=False)
class PenaltyForm:
    r"""Multiply by :math:`L + \text{ridge}\, I`, a matrix for each device and dtype; no operator means L = 0."""

    operator: SignalOperator | Tensor | None
    ridge: float

    @torch.no_grad()
    def add_(
        self, target: Float[Tensor, "nodes width"] | None, X: Float[Tensor, "nodes width"], factor: float
    ) -> bool:
        """Add factor (L + ridge I) X to a matrix from `writable_view`, in one product or part by part.

        The memory that it takes is that of a part, and a copy of X where that shares memory with the target.
        False, and nothing done, where there is no target, or the operator is no symmetric matrix.
        """
        if target is None or X.dtype != target.dtype or X.device != target.device:
            return False
        if self.operator is None:
            target.add_(X, alpha=factor * self.ridge)
            return True
        matrix = self.matrix(target)
        if matrix is None:
            return False
        if X.untyped_storage().data_ptr() == target.untyped_storage().data_ptr():
            X = X.clone()
        with torch.autocast(target.device.type, enabled=False):
            if matrix.layout == torch.sparse_csr and target.device.type == "cpu" and target.stride(0) == 1:
                # Nodes are columns of the parameter: a sparse product along them takes three times as long as one of
                # parts that are transposed in the cache.
                for part in range(0, target.shape[1], _PART):
                    columns = slice(part, part + _PART)
                    target[:, columns].add_(matrix @ X[:, columns].contiguous(), alpha=factor)
            else:
                target.addmm_(matrix, X, alpha=factor)
        return True

    def matrix(self, like: Tensor) -> Tensor | None:
        """Copy the form once to the device and dtype of a tensor, in compressed sparse rows, dense where L is.

        None for an operator that is no symmetric matrix.
        """
        operator, key = self.operator, (like.device, like.dtype)
        if not isinstance(operator, ShiftOperator) or not operator.symmetric:
            return None
        if key not in self._matrices:
            if operator.is_dense:
                matrix = operator.to_torch(*key, "dense")
                matrix.diagonal().add_(self.ridge)
            else:
                shifted = operator.to_scipy() + self.ridge * sp.eye_array(operator.nodes)
                matrix = sparse_tensor(sp.csr_array(shifted), *key, "csr")
            self._matrices[key] = matrix
        return self._matrices[key]

    @cached_property
    def _matrices(self) -> dict[tuple[torch.device, torch.dtype], Tensor]:
        return {}


@torch.no_grad()
def filter_(
    X: Float[Tensor, "nodes width"],
    graph_filter: ReadyFilter,
    target: Float[Tensor, "nodes width"] | None = None,
) -> tuple[Tensor, Tensor] | None:
    r"""Filter a signal in place by a low-rank filter, or add (h(L) - I) X to a target, and say what it let through.

    .. math:: \lVert h(L) X \rVert^2 = (1 + r)^2 \lVert X \rVert^2
        + \sum_i \left( h_i^2 - (1 + r)^2 \right) \lVert u_i^T X \rVert^2

    Gives the squared norms before and after the filter; None, and nothing done, where the filter is no product of two
    thin factors. 4 nodes rank width operations, and rank x width numbers of memory.
    """
    factors = graph_filter.thin_factors(X.device, X.dtype)
    if factors is None:
        return None
    basis, gain, surplus, rest = factors
    # A caller's autocast would round the products to half precision.
    with torch.autocast(X.device.type, enabled=False):
        before = torch.linalg.vector_norm(X).square()
        # (width, rank): X is read along its rows, which takes two thirds of the time of U^T X.
        modes = X.T @ basis
        after = (1.0 + rest) ** 2 * before + modes.square().sum(0) @ surplus
        modes *= gain
        if target is None:
            X.addmm_(basis, modes.T, beta=1.0 + rest)
        else:
            target.addmm_(basis, modes.T)
            if rest:
                target.add_(X, alpha=rest)
    # Rounding may leave less than nothing of a signal that the filter removes.
    return before, after.clamp_min(0.0)
