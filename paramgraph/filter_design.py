"""What stands for h(L) - I: some modes and a tail, or the coefficients of a polynomial."""

import logging
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from paramgraph.chebyshev import chebyshev_coefficients, chebyshev_errors
from paramgraph.eigensolve import eigenpairs
from paramgraph.errors import NumericalWarning
from paramgraph.responses import ResponseFunction, evaluate_response, get_response
from paramgraph.shift_operator import ShiftOperator
from paramgraph.spectrum import Spectrum

logger = logging.getLogger(__name__)

METHODS = ("auto", "exact", "lowrank", "chebyshev")
# A complete basis of 4,096 nodes takes 0.13 GB and some 20 s on one thread; beyond, both grow fast.
EXACT_NODES = 4096
DEFAULT_RANK = 32
# Below the rounding of a float32 signal; the order that "auto" may take for it.
AUTO_ERROR = 1e-6
AUTO_ORDER = 500
WARN_ERROR = 0.01


@dataclass(frozen=True, eq=False)
class FilterDesign:
    r"""Hold the numbers of a filter, on the symmetric operator.

    .. math:: h(L) - I = S^{-1} (U \operatorname{diag}(g) U^T + r I) S \quad \text{or} \quad S^{-1} p(L) S

    Parameters
    ----------
    operator : ShiftOperator
        Symmetric operator.
    method : str
        "exact", "lowrank" or "chebyshev".
    reason : str
        Why, and what happens to modes that are not computed.
    rank : int, optional
        Number of modes used.
    order : int, optional
        Order of the polynomial.
    error : float
        Estimated largest error of the response.
    basis : Tensor of shape (nodes, active), optional
        U, those modes whose gain is not zero.
    gain : Tensor of shape (active,), optional
        g.
    rest : float
        r; 0 where all modes are computed.
    coefficients : ndarray of shape (order + 1,), optional
        Of the polynomial p.
    scale : Tensor of shape (nodes,), optional
        Diagonal of S for the "rw" Laplacian; None is the unit matrix.

    Examples
    --------
    >>> from paramgraph.shifts import zero_operator
    >>> FilterDesign(zero_operator(2), "exact", "small").is_zero
    True
    """

    operator: ShiftOperator
    method: str
    reason: str
    rank: int | None = None
    order: int | None = None
    error: float = 0.0
    basis: Float[Tensor, "nodes active"] | None = None
    gain: Float[Tensor, "active"] | None = None
    rest: float = 0.0
    coefficients: Float[np.ndarray, "orders"] | None = None
    scale: Float[Tensor, "nodes"] | None = None

    @property
    def is_zero(self) -> bool:
        """Whether the correction is exactly zero."""
        modes = self.gain is not None and len(self.gain) > 0
        return not (modes or self.rest or (self.coefficients is not None and self.coefficients.any()))


def design_filter(
    operator: ShiftOperator,
    response: Any,
    method: str,
    order: Any,
    rank: Any,
    tail: Any,
    spectrum: Spectrum | None,
    seed: Any,
) -> tuple[FilterDesign, ResponseFunction]:
    """Choose the method and compute its numbers; see `paramgraph.filters.prepare_filter`.

    Parameters
    ----------
    operator : ShiftOperator
        Any operator.
    response : callable or str
        The response.
    method : str
        One of the three, or "auto".
    order : int
        Order of the polynomial.
    rank : int, optional
        Number of modes.
    tail : {"edge", 0, 1}
        What happens to modes that are not computed.
    spectrum : Spectrum, optional
        Of the operator.
    seed : int or numpy.random.Generator
        Of the eigensolver.

    Returns
    -------
    design : FilterDesign
        The numbers.
    response : callable
        The response that was named.
    """
    response = get_response(response)
    _check_options(operator, method, order, rank, tail, spectrum)
    asked = method
    method, reason = _choose(operator, method, rank, spectrum)
    symmetric, scale = operator.symmetrized()
    shared: dict[str, Any] = {"scale": None if operator.symmetric else torch.from_numpy(scale)}
    if method == "chebyshev":
        shared |= _polynomial(symmetric, response, asked, order)
    else:
        if method == "exact":
            rank = operator.nodes
        elif rank is None:
            rank = DEFAULT_RANK if spectrum is None else spectrum.modes
        if rank > operator.nodes:
            reason += f"; rank {rank} is more than {operator.nodes} nodes, so all modes are used"
        shared |= _modes(operator, response, min(rank, operator.nodes), tail, spectrum, seed)
    reason += shared.pop("remark")
    design = FilterDesign(operator=symmetric, method=method, reason=reason, **shared)
    logger.info("filter %s on %d nodes: %s, %s", response, operator.nodes, method, reason)
    return design, response


def _check_options(operator: Any, method: Any, order: Any, rank: Any, tail: Any, spectrum: Any) -> None:
    if not isinstance(operator, ShiftOperator):
        raise TypeError(
            f"a filter needs a shift operator, got {type(operator).__name__}; call laplacian(graph)"
        )
    if method not in METHODS:
        raise ValueError(f"no filter method {method!r}; allowed: {', '.join(map(repr, METHODS))}")
    if tail not in ("edge", 0, 1):
        raise ValueError(f"no tail {tail!r}; allowed: 'edge', 0, 1")
    for name, value in (("order", order), ("rank", 1 if rank is None else rank)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
            raise ValueError(f"{name} must be an int of at least 1, got {value!r}")
    if spectrum is None:
        return
    if spectrum.nodes != operator.nodes or spectrum.kind != operator.kind:
        raise ValueError(
            f"the spectrum is that of a {spectrum.kind} of {spectrum.nodes} nodes, the operator is a "
            f"{operator.kind} of {operator.nodes}; compute eigenpairs of this operator"
        )
    wanted = operator.nodes if method == "exact" else min(rank or 0, operator.nodes)
    if wanted > spectrum.modes:
        raise ValueError(
            f"{wanted} modes are needed, the spectrum holds {spectrum.modes}; compute more of them"
        )


def _choose(
    operator: ShiftOperator, method: str, rank: int | None, spectrum: Spectrum | None
) -> tuple[str, str]:
    if method != "auto":
        return method, "asked for"
    if rank is not None:
        return "lowrank", "rank given"
    if spectrum is not None:
        kind = "complete" if spectrum.complete else "incomplete"
        return ("exact" if spectrum.complete else "lowrank"), f"{kind} spectrum given"
    if operator.nodes <= EXACT_NODES:
        return "exact", f"no more than {EXACT_NODES} nodes"
    return "chebyshev", f"more than {EXACT_NODES} nodes"


def _modes(
    operator: ShiftOperator,
    response: ResponseFunction,
    rank: int,
    tail: Any,
    spectrum: Spectrum | None,
    seed: Any,
) -> dict[str, Any]:
    """Compute gains of modes, and leave out those that change nothing."""
    symmetric, scale = operator.symmetrized()
    if spectrum is None:
        spectrum = eigenpairs(symmetric, k=rank or None, seed=seed)
        basis = spectrum.eigenvectors
    else:
        basis = spectrum.eigenvectors.to("cpu", torch.float64)
        if not operator.symmetric:
            basis = torch.from_numpy(scale)[:, None] * basis
            basis = basis / torch.linalg.vector_norm(basis, dim=0)
    gain = evaluate_response(response, spectrum.eigenvalues[:rank].to("cpu", torch.float64))
    others = operator.nodes - rank
    level, remark = 1.0, ""
    if others:
        level = gain[-1].item() if tail == "edge" else float(tail)
        where = "the last computed mode" if tail == "edge" else "asked for"
        remark = f"; the other {others} modes are multiplied by h = {level:.4g} ({where})"
    gain = gain - level
    active = gain != 0
    return {
        "rank": rank,
        "basis": basis[:, :rank][:, active].contiguous(),
        "gain": gain[active],
        "rest": level - 1.0,
        "remark": remark,
    }


def _polynomial(
    operator: ShiftOperator, response: ResponseFunction, asked: str, order: int
) -> dict[str, Any]:
    """Expand the response, and raise the order where it was left to us."""
    coefficients = chebyshev_coefficients(response, operator.interval)
    errors = chebyshev_errors(coefficients)
    order = min(order, len(errors) - 1)
    if asked == "auto":
        needed = int(np.argmax(errors <= AUTO_ERROR))
        if needed > max(order, AUTO_ORDER):
            raise ValueError(
                f"the response {response!r} needs a polynomial of order {needed} for an error of {AUTO_ERROR}; give "
                "rank=... for a low-rank filter, or method='chebyshev' and accept the error in its reason"
            )
        order = max(order, needed)
    error = float(errors[order])
    if error > WARN_ERROR:
        warnings.warn(
            f"a Chebyshev filter of order {order} misses the response {response!r} by up to {error:.2g}; raise "
            "order, or use method='exact' or 'lowrank'",
            NumericalWarning,
            stacklevel=4,
        )
    return {
        "order": order,
        "error": error,
        "coefficients": coefficients[: order + 1],
        "remark": f"; order {order}, estimated error of the response {error:.1g}",
    }
