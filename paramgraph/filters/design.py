"""What stands for h(L) - I: some modes and a tail, the coefficients of a polynomial, or a linear system."""

import logging
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from paramgraph._checks import is_whole
from paramgraph.filters._linear_solve import LinearSolve, factor_is_cheap, prepare_solve
from paramgraph.filters.polynomial_design import (
    AUTO_ERROR as AUTO_ERROR,
    AUTO_ORDER as AUTO_ORDER,
    DAMPINGS,
    design_polynomial,
)
from paramgraph.filters.response import Response, ResponseFunction, evaluate_response
from paramgraph.filters.responses import get_response
from paramgraph.spectra import ShiftOperator, Spectrum, eigenpairs

logger = logging.getLogger(__name__)

METHODS = ("auto", "exact", "lowrank", "chebyshev", "solve")
# A complete basis of 4,096 nodes takes 0.13 GB and some 20 s on one thread; beyond, both grow fast.
EXACT_NODES = 4096
# Up to here eigenpairs take less than a third of a second, and are exact for every response.
SMALL_NODES = 1000
DEFAULT_RANK = 32


@dataclass(frozen=True, eq=False)
class FilterDesign:
    r"""Hold the numbers of a filter, on the symmetric operator.

    .. math:: h(L) - I = S^{-1} (U \operatorname{diag}(g) U^T + r I) S ,
        \quad S^{-1} p(L) S \quad \text{or} \quad S^{-1} ((I + \gamma L)^{-1} - I) S

    Parameters
    ----------
    operator : ShiftOperator
        Symmetric operator.
    method : str
        "exact", "lowrank", "chebyshev" or "solve".
    reason : str
        Why, and what happens to modes that are not computed.
    rank : int, optional
        Number of modes used.
    order : int, optional
        Order of the polynomial.
    error : float
        Bound of the error of the response; see `PolynomialDesign` and `LinearSolve`.
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
    gamma : float, optional
        Strength of the linear system.

    Examples
    --------
    >>> from paramgraph.spectra import zero_operator
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
    gamma: float | None = None

    @property
    def is_zero(self) -> bool:
        """Whether the correction is exactly zero."""
        modes = self.gain is not None and len(self.gain) > 0
        polynomial = self.coefficients is not None and bool(self.coefficients.any())
        return not (modes or self.rest or polynomial or self.gamma)

    @cached_property
    def solver(self) -> LinearSolve:
        """The linear system of "solve", factored at the first call."""
        if self.gamma is None:
            raise ValueError(f"a filter by {self.method!r} has no linear system")
        return prepare_solve(self.operator, self.gamma)


def design_filter(
    operator: ShiftOperator,
    response: Any,
    method: str,
    order: Any,
    rank: Any,
    tail: Any,
    spectrum: Spectrum | None,
    seed: Any,
    damping: Any = "none",
    once: bool = False,
) -> tuple[FilterDesign, ResponseFunction]:
    """Choose the method and compute its numbers; see `paramgraph.filters.filters.prepare_filter`.

    Parameters
    ----------
    operator : ShiftOperator
        Any operator.
    response : callable or str
        The response.
    method : str
        One of the four, or "auto".
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
    damping : {"none", "jackson"}, default "none"
        Of the coefficients of a polynomial.
    once : bool, default False
        Whether one signal only will be filtered.

    Returns
    -------
    design : FilterDesign
        The numbers.
    response : callable
        The response that was named.
    """
    response = get_response(response)
    _check_options(operator, method, order, rank, tail, spectrum)
    gamma = _strength(response)
    _check_method(method, response, gamma, damping)
    asked = method
    symmetric, scale = operator.symmetrized()
    method, reason = _choose(symmetric, method, rank, spectrum, gamma, damping, once)
    shared: dict[str, Any] = {"scale": None if operator.symmetric else torch.from_numpy(scale)}
    if method == "chebyshev":
        try:
            found = design_polynomial(response, symmetric.interval, order, asked == "auto", damping)
        except ValueError as error:
            if asked != "auto" or gamma is None or damping != "none":
                raise
            method, reason = "solve", f"{reason}, and no polynomial will do ({error})"
        else:
            shared |= {"order": found.order, "error": found.error, "coefficients": found.coefficients}
            reason += found.remark
    if method in ("exact", "lowrank"):
        if method == "exact":
            rank = operator.nodes
        elif rank is None:
            rank = DEFAULT_RANK if spectrum is None else spectrum.modes
        if rank > operator.nodes:
            reason += f"; rank {rank} is more than {operator.nodes} nodes, so all modes are used"
        shared |= _modes(operator, response, min(rank, operator.nodes), tail, spectrum, seed)
        reason += shared.pop("remark")
    design = FilterDesign(symmetric, method, reason, gamma=gamma if method == "solve" else None, **shared)
    if method == "solve":
        design = _solved(design)
    logger.info("filter %s on %d nodes: %s, %s", response, operator.nodes, method, design.reason)
    return design, response


def _strength(response: ResponseFunction) -> float | None:
    """Strength of a response that is one linear system: 1 / (1 + gamma x), or 1."""
    if not isinstance(response, Response) or response.name not in ("tikhonov", "identity"):
        return None
    return float(dict(response.options).get("gamma", 0.0))


def _solved(design: FilterDesign) -> FilterDesign:
    """Factor at once, so that a matrix that is not positive definite is refused now and not in a step."""
    if not design.gamma:
        return replace(design, reason=f"{design.reason}; nothing to solve")
    solver = design.solver
    reason = f"{design.reason}; {solver.reason}, in float64 on the CPU"
    solved = replace(design, reason=reason, error=solver.error)
    solved.__dict__["solver"] = solver  # a cached property: the factor is not made again
    return solved


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
        if not is_whole(value) or value < 1:
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


def _check_method(method: str, response: ResponseFunction, gamma: float | None, damping: Any) -> None:
    if method == "solve" and gamma is None:
        raise ValueError(
            f"method 'solve' is one linear system, for tikhonov(gamma) only; the response {response!r} needs "
            "'exact', 'lowrank' or 'chebyshev'"
        )
    if damping not in DAMPINGS:
        raise ValueError(f"no damping {damping!r}; allowed: {', '.join(map(repr, DAMPINGS))}")
    if damping != "none" and method not in ("auto", "chebyshev"):
        raise ValueError(f"damping {damping!r} is for method 'chebyshev', not for {method!r}")


def _choose(
    operator: ShiftOperator,
    method: str,
    rank: int | None,
    spectrum: Spectrum | None,
    gamma: float | None,
    damping: str,
    once: bool,
) -> tuple[str, str]:
    if method != "auto":
        return method, "asked for"
    if damping != "none":
        return "chebyshev", "damping asked for"
    if rank is not None:
        return "lowrank", "rank given"
    if spectrum is not None:
        kind = "complete" if spectrum.complete else "incomplete"
        return ("exact" if spectrum.complete else "lowrank"), f"{kind} spectrum given"
    if operator.nodes <= EXACT_NODES:
        if once and gamma and operator.nodes > SMALL_NODES:
            return "solve", f"one signal on more than {SMALL_NODES} nodes costs less than eigenpairs"
        return "exact", f"no more than {EXACT_NODES} nodes"
    if gamma and not operator.is_dense and factor_is_cheap(operator):
        return "solve", f"more than {EXACT_NODES} nodes"
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
