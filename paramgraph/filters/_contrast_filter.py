r"""Contrast of two graphs: leave alone what a task needs, shrink what text to be preserved needs.

With :math:`B = C_t + \rho I` of the task and :math:`C_k` of the text to be preserved, and the pencil
:math:`C_k V = B V N`, :math:`V^T B V = I`,

.. math:: h(B^{-1} C_k) = V h(N) V^T B

acts on a table X whose nodes are those of the two graphs. For the columns of a weight, X is the transposed delta,
and :math:`h(\nu) = 1 / (1 + \gamma \nu)` gives

.. math:: X \mapsto (B + \gamma C_k)^{-1} B X, \qquad
    \Delta \mapsto \Delta (C_t + \rho I) (C_t + \gamma C_k + \rho I)^{-1},

the minimiser of :math:`\operatorname{tr}((Y - X)^T B (Y - X)) + \gamma \operatorname{tr}(Y^T C_k Y)` over Y: outputs on
the task's inputs stay close, outputs on the preserved inputs become small.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from paramgraph.filters._choice import pairs_for_rank, whole_modes
from paramgraph.filters._rounding import ROUNDINGS
from paramgraph.filters.ready_filter import ReadyFilter
from paramgraph.filters.response import ResponseFunction, evaluate_response
from paramgraph.filters.responses import get_response, tikhonov
from paramgraph.graphs import GraphLike
from paramgraph.spectra import (
    Seed,
    ShiftOperator,
    adjacency,
    generalized_eigenpairs,
    is_proven_above,
    smallest_eigenvalue,
)

BALANCED = tikhonov(1.0)
# A Gram matrix of float32 features has eigenvalues down to some -1e-7 of its largest.
ROUNDING = 1e-5
INDEFINITE = (
    "the operator to be preserved has negative eigenvalues ({}), so that tr(X^T C X) does not measure a loss; take the "
    "Gram matrix of activations, or a Laplacian"
)


@dataclass(frozen=True, eq=False, repr=False)
class ContrastFilter(ReadyFilter):
    """Apply one response on the generalized eigenvalues of two graphs; made by `contrast`.

    2 nodes^2 width operations where at least half of the modes are changed, else 4 nodes active width.

    Parameters
    ----------
    nodes : int
        Number of nodes of both graphs.
    response : callable
        Response h on the generalized eigenvalues.
    ridge : float
        Added to the task's operator.
    eigenvalues : Tensor of shape (modes,)
        What the preserved graph has in units of the task's, in the order of the preserved operator's graph
        frequencies: for adjacencies the strongest first.
    gain : Tensor of shape (active,)
        Value of h - 1 for those modes that are changed.
    basis, dual : Tensor of shape (nodes, active)
        V and B V of the same modes.
    method : {"exact", "lowrank"}
        Whether all modes were computed.
    reason : str
        What ran, and what happens to modes that are not computed.

    Examples
    --------
    >>> shrink = contrast(torch.eye(2), torch.diag(torch.tensor([3.0, 0.0])), ridge=0.0)
    >>> shrink(torch.ones(2, 1)).T
    tensor([[0.2500, 1.0000]])
    """

    nodes: int
    response: ResponseFunction
    ridge: float
    eigenvalues: Float[Tensor, " modes"]
    gain: Float[Tensor, " active"]
    basis: Float[Tensor, "nodes active"]
    dual: Float[Tensor, "nodes active"]
    method: str
    reason: str

    def __repr__(self) -> str:
        kind = f"{self.response!r}, ridge={self.ridge:g}, {self.method}, nodes={self.nodes}"
        return f"ContrastFilter({kind}: {self.reason})"

    @property
    def rank(self) -> int:
        """Number of modes that were computed."""
        return len(self.eigenvalues)

    @property
    def is_identity(self) -> bool:
        """Whether nothing is added, so that each bit of a signal is handed back."""
        return not len(self.gain)

    def _parts(self) -> dict[str, Tensor]:
        weighted = self.basis * self.gain
        # One product of nodes x nodes is cheaper than two with more than half as many modes.
        if 2 * len(self.gain) >= self.nodes:
            return {"matrix": weighted @ self.dual.T}
        return {"dual": self.dual.T, "weighted": weighted}

    def _delta(self, signal: Tensor) -> Tensor:
        # A caller's autocast would round the products to half precision.
        with torch.autocast(signal.device.type, enabled=False):
            for part in self._factors(signal.device, signal.dtype).values():
                signal = part @ signal
            return signal


def contrast(
    task: ShiftOperator | GraphLike,
    preserve: ShiftOperator | GraphLike,
    ridge: float = 0.1,
    response: ResponseFunction | str = BALANCED,
    rank: int | None = None,
    seed: Seed = 0,
) -> ContrastFilter:
    r"""Make the filter that shrinks what is strong on preserved text and weak on the task.

    .. math:: C_k v = \nu (C_t + \rho I) v, \qquad X \mapsto V h(\nu) V^T (C_t + \rho I) X

    For a table of columns, whose nodes are a layer's input features and whose X is the transposed delta, the default is
    :math:`\Delta (C_t + \rho I)(C_t + C_k + \rho I)^{-1}`.

    Parameters
    ----------
    task : ShiftOperator or graph
        C_t; a graph of any kind that `adjacency` takes stands for its adjacency. Its eigenvalues must lie above
        -ridge.
    preserve : ShiftOperator or graph
        C_k on the same nodes, positive semidefinite: :math:`\operatorname{tr}(X^T C_k X)` measures what is lost, as
        with the Gram matrix of activations or a Laplacian.
    ridge : float, default 0.1
        :math:`\rho`, in the units of C_t (a graph by `Gram` has mean diagonal 1): how much each direction counts as
        needed by the task beyond what its text shows.
    response : callable or str, default tikhonov(1.0)
        Response h on :math:`\nu`; falling, with h(0) = 1, to leave alone what is not preserved.
    rank : int, optional
        Compute the strongest modes alone, and leave all others as they are; needs an adjacency to be preserved, whose
        smallest eigenvalue is computed too where no bound tells its sign.
    seed : int or numpy.random.Generator, default 0
        Of the eigensolver's start vectors.

    Returns
    -------
    ContrastFilter
        Callable on tensors (nodes, width). All modes: O(nodes^3) time, O(nodes^2) memory, once.

    Raises
    ------
    ValueError
        If C_t + ridge I is not positive definite, C_k has a negative eigenvalue beyond rounding (1e-5 of the
        largest), the nodes differ, or an option is not allowed.
    TypeError
        If one of the two is no graph.

    References
    ----------
    .. [1] G. H. Golub, C. F. Van Loan, "Matrix Computations", Johns Hopkins, 2013, section 8.7.

    Examples
    --------
    >>> C_t, C_k = torch.diag(torch.tensor([1.0, 0.0])), torch.eye(2)
    >>> delta = torch.ones(1, 2)
    >>> contrast(C_t, C_k, ridge=1.0)(delta.T).T  # (1 + 1) / (1 + 1 + 1) and 1 / (1 + 1)
    tensor([[0.6667, 0.5000]])
    """
    response = get_response(response)
    operators = [each if isinstance(each, ShiftOperator) else adjacency(each) for each in (task, preserve)]
    nodes = operators[1].nodes
    if rank is not None and operators[1].kind != "adjacency":
        raise ValueError(
            "rank takes the strongest modes, which come first on an adjacency alone; leave rank out for a Laplacian"
        )
    pairs = generalized_eigenpairs(
        operators[1], operators[0], rank and pairs_for_rank(rank, nodes, tail=1), ridge, seed=seed
    )
    V = pairs.eigenvectors
    values, remark = _without_rounding(pairs.eigenvalues, V)
    if len(values) < nodes:
        _check_rest(operators[1])
    rounding = _rounding(values, pairs.residuals, V)
    found = evaluate_response(response, values[:rank], rounding[:rank])
    kept, cut = whole_modes(values, rounding, found, nodes, tail=1)
    remark += cut
    if kept < nodes:
        remark += f"; the other {nodes - kept} modes are left as they are"
    values, V, gain = values[:kept], V[:, :kept], found[:kept] - 1
    active = gain != 0
    basis = V[:, active].contiguous()
    dual = operators[0] @ basis + float(ridge) * basis
    return ContrastFilter(
        nodes,
        response,
        float(ridge),
        values,
        gain[active],
        basis,
        dual,
        "exact" if kept == nodes else "lowrank",
        pairs.reason + remark,
    )


def _rounding(
    values: Float[Tensor, " modes"], residuals: Float[Tensor, " modes"], V: Float[Tensor, "nodes modes"]
) -> Float[Tensor, " modes"]:
    """Bound how far generalized eigenvalues may be from true ones: the norm of a residual in the inverse of B."""
    # The largest norm of a vector of v^T B v = 1 is a lower bound of that of the root of the inverse.
    root = torch.linalg.vector_norm(V, dim=0).max() if V.numel() else 0.0
    eps = torch.finfo(torch.float64).eps
    return residuals * root + ROUNDINGS * len(V) * eps * values.abs().max() if len(values) else residuals


def _check_rest(preserve: ShiftOperator) -> None:
    """Refuse an operator to be preserved with a negative eigenvalue among the modes that were not computed."""
    # The largest entry of the diagonal is at most the largest eigenvalue.
    least = -ROUNDING * preserve.matrix.diagonal().max()
    if not is_proven_above(preserve, least) and (lowest := smallest_eigenvalue(preserve)) < least:
        raise ValueError(INDEFINITE.format(f"{lowest:.3g}"))


def _without_rounding(
    values: Float[Tensor, " modes"], V: Float[Tensor, "nodes modes"]
) -> tuple[Float[Tensor, " modes"], str]:
    """Refuse a preserved operator that is not positive semidefinite, but for rounding."""
    # v^T B v = 1, so that nu / |v|^2 is the Rayleigh quotient of C_k itself, whose sign is that of nu.
    if not len(values):
        return values, ""
    quotients = values / V.square().sum(dim=0)
    lowest = quotients.min().item()
    if lowest < -ROUNDING * quotients.abs().max().item():
        raise ValueError(INDEFINITE.format(f"a Rayleigh quotient of {lowest:.3g}"))
    below = int((values < 0).sum())
    remark = f"; {below} eigenvalues below 0 by rounding are taken as 0" if below else ""
    return values.clamp(min=0.0), remark
