"""How well eigenvalues are known, and which of them are copies of one: what a step needs at its cut-off.

Equal eigenvalues come out of a solver some roundings apart, in an order that hangs on the names of the nodes. A step
that falls among them would keep some copies and drop others, and another basis of the same eigenspace would give
another filter.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from paramgraph.spectra import Spectrum

# Roundings for each node, as the eigensolver allows itself.
ROUNDINGS = 10


def eigenvalue_rounding(spectrum: Spectrum, bound: float) -> Float[Tensor, " modes"]:
    r"""Bound how far each computed eigenvalue may be from a true one.

    .. math:: |\hat\lambda_k - \lambda| \le \|L u_k - \hat\lambda_k u_k\| + 10 \, n \, \epsilon \, \|L\|

    the residual, and the rounding of the residual itself. `bound` is one of the absolute eigenvalues; the zeros of a
    Laplacian are written down, and exact.
    """
    values = spectrum.eigenvalues
    rounding = ROUNDINGS * spectrum.nodes * torch.finfo(values.dtype).eps * bound
    found = spectrum.residuals.to("cpu", torch.float64) + rounding
    known = (torch.arange(len(found), device="cpu") < spectrum.zeros) & (values.cpu() == 0)
    return torch.where(known, 0.0, found)


def whole_levels(values: Float[Tensor, " modes"], rounding: Float[Tensor, " modes"], count: int) -> int:
    """Count the modes of the whole levels among the first `count`: the copies of a level that goes on are left out.

    >>> whole_levels(torch.tensor([0.0, 1.0, 1.0, 1.0]), torch.full((4,), 1e-9), 3)
    1
    """
    while 0 < count < len(values):
        if abs(values[count] - values[count - 1]) > rounding[count] + rounding[count - 1]:
            break
        count -= 1
    return count
