r"""Two texts in one matrix: outputs of the tuned one on the task's inputs, of the start on the preserved ones.

.. math::
    \min_W \lVert (W - W_{tuned}) X_t \rVert^2 + \gamma \lVert (W - W_0) X_p \rVert^2, \qquad
    \Delta' = \Delta - \Delta \, \gamma G_p (G_t + \gamma G_p)^{-1}

with the Gram matrices :math:`G = X X^T` of a layer's inputs.
"""

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from paramgraph.measures import SecondMoments, second_moments
from spectral_opt.study import Batches, FinishedTune, StudySetting
from spectral_opt.study.after_training._matrices import TableFilter, filter_tables, tables_of

# Sums of float32 products have eigenvalues down to some -1e-7 of the largest: below that no text says anything.
ROUNDING = 1e-6
# By table, in float64, made where it is used: those of all tables of a language model take gigabytes.
GramOf = Callable[[str], Float[Tensor, "_ _"]]


def input_moments(setting: StudySetting, model: nn.Module, batches: Batches) -> SecondMoments:
    """Measure the second moments of the inputs of all matrices in one pass."""
    return second_moments(model, tables_of(setting, "columns"), "activations", batches)


def between_texts(tune: FinishedTune, task: GramOf, preserved: GramOf, strength: float) -> dict[str, Tensor]:
    """Put in what is least wrong on both texts together; directions that neither has stay as tuned."""
    filters: dict[str, TableFilter] = {
        group: partial(_filtered, group, task, preserved, strength)
        for group in tables_of(tune.setting, "columns")
    }
    return filter_tables(tune, filters, "columns")


def _filtered(
    group: str, task: GramOf, preserved: GramOf, strength: float, X: Float[Tensor, "inputs outputs"]
) -> Float[Tensor, "inputs outputs"]:
    if not strength:
        return X
    strong = strength * preserved(group).to(X.device)
    whole = task(group).to(X.device) + strong
    # The largest sum of a row is no less than the largest eigenvalue.
    whole.diagonal().add_(ROUNDING * whole.abs().sum(dim=1).max())
    return X - torch.cholesky_solve(strong @ X.double(), torch.linalg.cholesky(whole)).to(X.dtype)
