r"""Run one step of an optimizer in the basis of the graph.

For the time of the step the optimizer sees :math:`U^T \Theta` as the parameters of a table and :math:`U^T G` as their
gradients, so its rule, its moments and its weight decay are all those of the rotated parameters. What it did,
:math:`E = U^T\Theta|_{after} - U^T\Theta|_{before}`, is filtered and rotated back:

.. math:: \Theta \leftarrow \Theta + U h(\Lambda) E

Decoupled weight decay commutes with U, and as part of E it is filtered like the rest of the increment. A step costs
three products of (nodes, nodes) with (nodes, width). With scalars as nodes there is a basis on both sides,
:math:`U^T \Theta V` and :math:`U^T G V`, and the increment is filtered at each pair of modes.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from paramgraph.nodes import NodeTable
from paramgraph.spectra import wide
from spectral_opt.functional import match_norm
from spectral_opt.training.own_matrix import own_parts, own_table

Basis = Float[Tensor, "nodes nodes"]


@dataclass(frozen=True)
class BasisStep:
    """One table whose parameters and gradients stand in the basis U of its graph; `leave` or `abandon` ends it.

    `table` and `parts` are those of one expert where there are several in a parameter. `start` is Theta, copied, and
    so are the entries of `gradients`, which are put back; `rotated` is U^T Theta, as the parameters hold it. `across`
    is V where the columns have a graph too.
    """

    table: NodeTable
    parts: dict[str, Tensor]
    basis: Basis
    start: dict[str, Tensor]
    gradients: tuple[
        tuple[nn.Parameter, Tensor, Tensor, Tensor], ...
    ]  # whose, whole, its part, and a copy of that
    rotated: Float[Tensor, "nodes width"]
    across: Float[Tensor, "width width"] | None = None

    @torch.no_grad()
    def leave(
        self, gain: Float[Tensor, " nodes"] | Float[Tensor, "nodes width"], norm_matching: bool = False
    ) -> tuple[Float[Tensor, "nodes width"], Float[Tensor, "nodes width"]]:
        """Rotate the increment back, filtered, and put parameters and gradients where they were.

        `gain` has h of the eigenvalues, in the order of the basis. Gives the increment in the basis before and after
        h, before norm matching. Where the optimizer changed nothing no bit of a parameter changes.
        """
        increment = wide(self.table.gather(self.parts)) - wide(self.rotated)
        filtered = (gain if gain.ndim == 2 else gain[:, None]) * increment
        matched = match_norm(filtered, increment) if norm_matching else filtered
        back = self.basis @ matched
        change = self.table.scatter(back if self.across is None else back @ self.across.T)
        covered = _covered(self.table, self.rotated)
        for name, part in self.parts.items():
            before = self.start[name]
            value = torch.where(change[name] == 0, before, (before + change[name]).to(before.dtype))
            # What no node covers was never rotated: the optimizer's own result stays.
            part.copy_(value if covered is None else torch.where(covered[name], value, part))
        self._put_gradients_back()
        return increment, filtered

    @torch.no_grad()
    def abandon(self) -> None:
        """Put parameters and gradients back as they were, as if no step had been taken."""
        for name, part in self.parts.items():
            part.copy_(self.start[name])
        self._put_gradients_back()

    def _put_gradients_back(self) -> None:
        for parameter, gradient, part, copy in self.gradients:
            part.copy_(copy)
            parameter.grad = gradient  # an optimizer may have taken it away


@torch.no_grad()
def enter_basis(
    table: NodeTable,
    parameters: dict[str, nn.Parameter],
    basis: Basis,
    across: Float[Tensor, "width width"] | None = None,
) -> BasisStep:
    """Rotate a table's parameters and their gradients by U^T, and across its columns by V, in place."""
    whole = {name: parameter.grad for name, parameter in parameters.items() if parameter.grad is not None}
    own, parts, gradients = own_table(table), own_parts(table, parameters), own_parts(table, whole)
    start = {name: part.detach().clone() for name, part in parts.items()}
    rotated, turned = _rotated(own, start, basis, across), _rotated(own, gradients, basis, across)
    kept = tuple((parameters[name], whole[name], part, part.clone()) for name, part in gradients.items())
    seen = own.gather(rotated).detach().clone()
    step = BasisStep(own, parts, basis, start, kept, seen, across)
    try:
        # In place, so that strides are kept, as fused kernels ask for, and experts do not copy each other's.
        for name, value in turned.items():
            gradients[name].copy_(value)
        for name, value in rotated.items():
            parts[name].copy_(value)
    except BaseException:  # no table is left half in the basis
        step.abandon()
        raise
    return step


def _rotated(
    table: NodeTable, tensors: dict[str, Tensor], basis: Tensor, across: Tensor | None
) -> dict[str, Tensor]:
    X = basis.T @ wide(table.gather(tensors))
    rotated = table.scatter(X if across is None else X @ across)
    covered = _covered(table, basis)
    values = {}
    for name, value in tensors.items():
        new = rotated[name].to(value.dtype)
        if covered is not None:
            new = torch.where(covered[name], new, value)
        values[name] = new
    return values


def _covered(table: NodeTable, like: Tensor) -> dict[str, Tensor] | None:
    """Mark the entries that lie in a node; None where all do."""
    if all(part.is_whole for part in table.slices):
        return None
    ones = torch.ones(table.shape, dtype=torch.float32, device=like.device)
    return {name: value > 0 for name, value in table.scatter(ones).items()}
