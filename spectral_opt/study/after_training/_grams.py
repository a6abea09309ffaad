r"""Two texts in one matrix: outputs of the tuned one on the task's inputs, of the start on the preserved ones.

.. math::
    \min_W \lVert (W - W_{tuned}) X_t \rVert^2 + \gamma \lVert (W - W_0) X_p \rVert^2, \qquad
    \Delta' = \Delta - \Delta \, \gamma G_p (G_t + \gamma G_p)^{-1}

with the Gram matrices :math:`G = X X^T` of a layer's inputs.
"""

from collections.abc import Mapping
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from paramgraph.measures import SecondMoments, second_moments
from spectral_opt.study import FinishedTune, StudySetting
from spectral_opt.study.after_training._matrices import TableFilter, filter_tables, tables_of
from spectral_opt.tasks import TokenizedBatches

# Sums of float32 products have eigenvalues down to some -1e-7 of the largest: below that no text says anything.
ROUNDING = 1e-6
Gram = Float[Tensor, "inputs inputs"]
Grams = Mapping[str, Float[Tensor, "_ _"]]  # by table, each of its own size, in float64


def input_moments(setting: StudySetting, model: nn.Module, batches: TokenizedBatches) -> SecondMoments:
    """Measure the second moments of the inputs of all matrices in one pass."""
    return second_moments(model, tables_of(setting, "columns"), "activations", batches)


def between_texts(tune: FinishedTune, task: Grams, preserved: Grams, strength: float) -> dict[str, Tensor]:
    """Put in what is least wrong on both texts together; directions that neither has stay as tuned."""
    filters = {group: _filter(task[group], preserved[group], strength) for group in preserved}
    return filter_tables(tune, filters, "columns")


def _filter(task: Gram, preserved: Gram, strength: float) -> TableFilter:
    if not strength:
        return lambda X: X
    strong = strength * preserved
    whole = task + strong
    # The largest sum of a row is no less than the largest eigenvalue.
    whole.diagonal().add_(ROUNDING * whole.abs().sum(dim=1).max())
    return partial(_solved, strong, torch.linalg.cholesky(whole))


def _solved(
    strong: Gram, factor: Gram, X: Float[Tensor, "inputs outputs"]
) -> Float[Tensor, "inputs outputs"]:
    return X - torch.cholesky_solve(strong @ X.double(), factor).to(X.dtype)
