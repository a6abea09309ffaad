r"""What a new basis does to the state of an optimizer that runs in it.

With R = U_new^T U_old a moment that is linear in the gradient goes along, :math:`m \mapsto R m`, and with a basis on
both sides :math:`m \mapsto R m R_c^T`. The second moment of single entries cannot be rotated: it is reset to what it is
expected to be where the old coordinates are uncorrelated,

.. math:: E[(R g)_i^2] = \sum_j R_{ij}^2\, E[g_j^2], \qquad v \mapsto (R \circ R)\, v\, (R_c \circ R_c)^T

A basis that only changes order or signs keeps every number, as SOAP does; one that mixes all coordinates gives their
mean; the sum over the nodes, which is the same in every basis, stays. Reset to zero, the next step of Adam would be up
to :math:`1/\sqrt{1 - \beta_2}` times too long, since its bias correction is over.
"""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim import Optimizer

from paramgraph.nodes import NodeTable
from paramgraph.spectra import wide
from spectral_opt.training.own_matrix import own_parts, own_table

# By the names that torch and pytorch_optimizer give them.
LINEAR = frozenset({"exp_avg", "momentum_buffer", "momentum", "exp_avg_diff", "previous_grad", "ema"})
SQUARED = frozenset({"exp_avg_sq", "square_avg", "max_exp_avg_sq", "sum", "exp_avg_var", "exp_inf"})


@torch.no_grad()
def move_moments(
    optimizer: Optimizer,
    table: NodeTable,
    parameters: Mapping[str, Tensor],
    rotation: Float[Tensor, "nodes nodes"],
    across: Float[Tensor, "width width"] | None = None,
) -> str:
    """Carry the optimizer's state of one table into a new basis, and say for the log what was rotated and what reset.

    The rotation is R = U_new^T U_old, and `across` R_c = V_new^T V_old where the columns have a graph too. A state with
    a tensor of the parameter's shape, or any other part that is neither a number nor known by name, is cleared as a
    whole: the optimizer starts it anew.
    """
    states: dict[str, Any] = {name: optimizer.state.get(parameters[name]) for name in table.parameters}
    if not any(states.values()):
        return "no state yet"
    unknown = sorted({key for name in states for key in _unknown(states[name] or {}, parameters[name])})
    keys = [set(_tensors(states[name] or {}, parameters[name])) for name in states]
    if unknown or any(found != keys[0] for found in keys):
        for name in table.parameters:
            optimizer.state.pop(parameters[name], None)
        return f"cleared the whole state, which has parts that no basis change is known for: {', '.join(unknown)}"
    own = own_table(table)
    rotated, expected = sorted(keys[0] & LINEAR), sorted(keys[0] & SQUARED)
    changes = []
    for key in rotated + expected:
        values = own_parts(table, {name: states[name][key] for name in table.parameters})
        X = wide(own.gather(values))
        new = in_new_basis(X, rotation, across, is_squared=key in SQUARED)
        # Entries that no node covers keep every bit: only the difference is scattered.
        changes += [(values[name], change) for name, change in own.scatter(new - X).items()]
    # All of them once all are known: none stays alone in the new basis.
    for value, change in changes:
        value.add_(change)
    parts = [f"rotated {', '.join(rotated)}"] if rotated else []
    parts += [f"reset {', '.join(expected)} to what it is expected to be there"] if expected else []
    return "; ".join(parts) or "nothing depends on the basis"


def in_new_basis(
    X: Float[Tensor, "nodes width"],
    rotation: Float[Tensor, "nodes nodes"] | None,
    across: Float[Tensor, "width width"] | None,
    is_squared: bool,
) -> Float[Tensor, "nodes width"]:
    """Rotate a moment of first order by R and R_c, or take what is expected of one of second order; None: no turn."""
    turns = [None if turn is None else turn.to(X.device, X.dtype) for turn in (rotation, across)]
    left, right = [turn.square() if is_squared and turn is not None else turn for turn in turns]
    X = X if left is None else left @ X
    return X if right is None else X @ right.T


def _tensors(state: Mapping[str, Any], parameter: Tensor) -> list[str]:
    return [
        key for key, value in state.items() if isinstance(value, Tensor) and value.shape == parameter.shape
    ]


def _unknown(state: Mapping[str, Any], parameter: Tensor) -> list[str]:
    """List parts of a state that may depend on the basis in a way that is not known."""
    known = LINEAR | SQUARED
    return [
        key
        for key, value in state.items()
        if not (value is None or isinstance(value, (int, float, bool, str)))
        and not (isinstance(value, Tensor) and value.numel() == 1 and parameter.numel() > 1)
        and not (key in known and isinstance(value, Tensor) and value.shape == parameter.shape)
    ]
