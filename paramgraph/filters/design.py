"""What stands for h(L) - I: some modes and a tail, the coefficients of a polynomial, or a linear system."""

import logging
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from paramgraph.filters._chebyshev import Damping, design_polynomial, eigenvalues_of_small
from paramgraph.filters._choice import (
    DEFAULT_RANK,
    METHODS,
    Asked,
    Method,
    Tail,
    choose_method,
    level_of_others,
    linear_strength,
    pairs_for_rank,
    whole_modes,
)
from paramgraph.filters._linear_solve import LinearSolve, prepare_solve
from paramgraph.filters._rounding import eigenvalue_rounding
from paramgraph.filters.response import ResponseFunction, evaluate_response
from paramgraph.filters.responses import get_response
from paramgraph.spectra import Seed, ShiftOperator, Spectrum, check_operator, eigenpairs

logger = logging.getLogger(__name__)
# Of the largest eigenvalue: far above what float32 or a loose solver leaves, far below what another graph does.
SAME_OPERATOR = 1e-3


@dataclass(frozen=True, eq=False)
class FilterDesign:
    r"""The numbers of a filter, on the symmetric operator.

    .. math:: h(L) - I = S^{-1} (U \operatorname{diag}(g) U^T + r I) S ,
        \quad S^{-1} p(L) S \quad \text{or} \quad S^{-1} ((I + \gamma L)^{-1} - I) S

    `basis` is U and `gain` is g, for those modes whose gain is not zero; `rest` is r, 0 where all modes are computed;
    `coefficients` are those of p; `scale` is the diagonal of S for the "rw" Laplacian, None the unit matrix. `error`
    bounds that of the response (`PolynomialDesign`) or of the iteration (`LinearSolve`); `reason` says why the method
    runs, and what happens to modes that are not computed.
    """

    operator: ShiftOperator
    method: str
    reason: str
    rank: int | None = None
    order: int | None = None
    error: float = 0.0
    basis: Float[Tensor, "nodes active"] | None = None
    gain: Float[Tensor, " active"] | None = None
    rest: float = 0.0
    coefficients: Float[np.ndarray, " orders"] | None = None
    scale: Float[Tensor, " nodes"] | None = None
    gamma: float | None = None

    @property
    def is_zero(self) -> bool:
        """Whether the correction is exactly zero."""
        modes = self.gain is not None and len(self.gain) > 0
        polynomial = self.coefficients is not None and bool(self.coefficients.any())
        return not (modes or self.rest or polynomial or self.gamma)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the factors of a linear system behind, of which not all can be pickled: they are computed again."""
        return {name: value for name, value in self.__dict__.items() if name != "solver"}

    @cached_property
    def solver(self) -> LinearSolve:
        """The linear system of "solve", factored at the first call."""
        if self.gamma is None:
            raise ValueError(f"a filter by {self.method!r} has no linear system")
        return prepare_solve(self.operator, self.gamma)


def design_filter(
    operator: ShiftOperator,
    response: ResponseFunction | str,
    method: Method,
    order: int,
    rank: int | None,
    tail: Tail,
    spectrum: Spectrum | None,
    seed: Seed,
    damping: Damping = "none",
    once: bool = False,
) -> tuple[FilterDesign, ResponseFunction]:
    """Choose the method and compute its numbers; `once`: for one signal. Else as `prepare_filter`."""
    response = get_response(response)
    check_operator(operator, "a filter")
    asked = Asked.checked(METHODS, method, order, rank, tail, damping)
    _check_spectrum(operator, asked, spectrum)
    symmetric, scale = operator.symmetrized()
    gamma = linear_strength(response)
    chosen, reason = choose_method(symmetric, response, asked, spectrum, once)
    shared: dict[str, Any] = {"scale": None if operator.symmetric else torch.from_numpy(scale)}
    if chosen == "chebyshev":
        try:
            known = eigenvalues_of_small(symmetric, response)
            found = design_polynomial(response, symmetric.interval, order, method == "auto", damping, known)
        except ValueError as error:
            if method != "auto" or gamma is None or damping != "none":
                raise
            chosen, reason = "solve", f"{reason}, and no polynomial will do ({error})"
        else:
            shared |= {"order": found.order, "error": found.error, "coefficients": found.coefficients}
            reason += found.remark
    if chosen in ("exact", "lowrank"):
        if chosen == "exact":
            rank = operator.nodes
        elif rank is None:
            rank = DEFAULT_RANK if spectrum is None else spectrum.modes
        if rank > operator.nodes:
            reason += f"; rank {rank} is more than {operator.nodes} nodes, so all modes are used"
        modes, remark = _modes(operator, response, min(rank, operator.nodes), tail, spectrum, seed)
        shared |= modes
        reason += remark
    design = FilterDesign(symmetric, chosen, reason, gamma=gamma if chosen == "solve" else None, **shared)
    if chosen == "solve":
        design = _solved(design)
    logger.info("filter %s on %d nodes: %s, %s", response, operator.nodes, chosen, design.reason)
    return design, response


def _solved(design: FilterDesign) -> FilterDesign:
    """Factor at once, so that a matrix that is not positive definite is refused now and not in a step."""
    if not design.gamma:
        return replace(design, reason=f"{design.reason}; nothing to solve")
    solver = design.solver
    reason = f"{design.reason}; {solver.reason}, in float64 on the CPU"
    solved = replace(design, reason=reason, error=solver.error)
    solved.__dict__["solver"] = solver  # a cached property: the factor is not made again
    return solved


def _check_spectrum(operator: ShiftOperator, asked: Asked, spectrum: Spectrum | None) -> None:
    if spectrum is None:
        return
    if spectrum.nodes != operator.nodes or spectrum.kind != operator.kind:
        raise ValueError(
            f"the spectrum is that of a {spectrum.kind} of {spectrum.nodes} nodes, the operator is a "
            f"{operator.kind} of {operator.nodes}; compute eigenpairs of this operator"
        )
    wanted = operator.nodes if asked.method == "exact" else min(asked.rank or 0, operator.nodes)
    if wanted > spectrum.modes:
        raise ValueError(
            f"{wanted} modes are needed, the spectrum holds {spectrum.modes}; compute more of them"
        )
    left, stated = _residual(operator, spectrum)
    if left > stated + SAME_OPERATOR * operator.bound:
        raise ValueError(
            f"the spectrum is that of another {operator.kind}: L U and U diag(eigenvalues) differ by {left:.2g} along "
            f"a mixture of its modes, {stated:.2g} by its own residuals; compute eigenpairs of this operator"
        )


def _residual(operator: ShiftOperator, spectrum: Spectrum) -> tuple[float, float]:
    """Measure L x - U diag(eigenvalues) c of one mixture x = U c of all modes, and bound it by their residuals."""
    values, basis, residuals = (
        part.to("cpu", torch.float64)
        for part in (spectrum.eigenvalues, spectrum.eigenvectors, spectrum.residuals)
    )
    mixture = torch.full_like(values, max(spectrum.modes, 1) ** -0.5)
    mixture[::2] *= -1.0
    left = operator @ (basis @ mixture) - basis @ (values * mixture)
    return float(torch.linalg.vector_norm(left)), float(mixture.abs() @ residuals)


def _modes(
    operator: ShiftOperator,
    response: ResponseFunction,
    rank: int,
    tail: Tail,
    spectrum: Spectrum | None,
    seed: Seed,
) -> tuple[dict[str, Any], str]:
    """Compute gains of modes, and leave out those that change nothing."""
    symmetric, scale = operator.symmetrized()
    if spectrum is None:
        spectrum = eigenpairs(symmetric, k=pairs_for_rank(rank, operator.nodes, tail) or None, seed=seed)
        basis = spectrum.eigenvectors
    else:
        basis = spectrum.eigenvectors.to("cpu", torch.float64)
        if not operator.symmetric:
            basis = torch.from_numpy(scale)[:, None] * basis
            basis = basis / torch.linalg.vector_norm(basis, dim=0)
    values = spectrum.eigenvalues.to("cpu", torch.float64)
    rounding = eigenvalue_rounding(spectrum, symmetric.bound)
    gain = evaluate_response(response, values[:rank], rounding[:rank])
    rank, cut = whole_modes(values, rounding, gain, operator.nodes, tail)
    level, remark = level_of_others(gain[:rank], operator.nodes, tail)
    gain = gain[:rank] - level
    active = gain != 0
    modes = {
        "rank": rank,
        "basis": basis[:, :rank][:, active].contiguous(),
        "gain": gain[active],
        "rest": level - 1.0,
    }
    return modes, cut + remark
