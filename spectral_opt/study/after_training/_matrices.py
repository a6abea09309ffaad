r"""What every filter acts on: the linear matrices of the encoder; and the one rule for all other weights.

Norms and biases of the encoder go back to the start as far as the matrices do, by the share of the norm that is left:

.. math:: \theta = \theta_0 + \frac{\lVert \Delta' \rVert}{\lVert \Delta \rVert} (\theta_{tuned} - \theta_0)

Frozen embeddings have no change, a head stays as tuned.
"""

import math
from collections.abc import Callable, Mapping
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from paramgraph import NodeTable, node_tables
from paramgraph.spectra import wide
from spectral_opt.functional import match_norm, put_back
from spectral_opt.study import FinishedTune, StudySetting
from spectral_opt.tasks import unused_by_mean_pooling

# The change of a table, (nodes, width), to what becomes of it.
TableFilter = Callable[[Float[Tensor, "nodes width"]], Float[Tensor, "nodes width"]]


def tables_of(setting: StudySetting, scheme: Literal["rows", "columns"] = "rows") -> dict[str, NodeTable]:
    """Give the tables of the matrices that are filtered, by their names in the start."""
    model = setting.start
    exclude = unused_by_mean_pooling(model)
    return setting.once(("filtered", scheme), lambda: dict(node_tables(model, scheme, "all-linear", exclude)))


def change_of(tune: FinishedTune, table: NodeTable) -> Float[Tensor, "nodes width"]:
    """Give the change of a table, tuned minus base."""
    return table.gather({name: _change(tune, tune.tuned[name], name) for name in table.parameters})


def filter_tables(
    tune: FinishedTune,
    filters: Mapping[str, TableFilter],
    scheme: Literal["rows", "columns"] = "rows",
    norm_matched: bool = False,
) -> dict[str, Tensor]:
    """Filter the change of each table by the filter of its name, and put it in."""
    matrices: dict[str, Tensor] = {}
    for group, table in tables_of(tune.setting, scheme).items():
        # A stack of experts has several tables: each acts on what those before it have left.
        change = {
            name: _change(tune, matrices.get(name, tune.tuned[name]), name) for name in table.parameters
        }
        X = table.gather(change)
        filtered = put_back(change, table, X, filters[group](X))
        for name, value in filtered.items():
            matrices[name] = _moved(matrices.get(name, tune.tuned[name]), value - change[name])
    return put_in(tune, matrices, norm_matched)


def put_in(
    tune: FinishedTune, matrices: Mapping[str, Tensor], norm_matched: bool = False
) -> dict[str, Tensor]:
    """Put filtered matrices in place of the tuned ones, of the norm of the tuned change if asked; scale the rest.

    What equals tuned stays so to the last bit.
    """
    state = {name: value.clone() for name, value in tune.tuned.items()}
    before = after = 0.0
    for name, matrix in matrices.items():
        tuned, change = _change(tune, tune.tuned[name], name), _change(tune, matrix, name)
        state[name] = matrix
        if norm_matched:
            change = match_norm(change, tuned)
            state[name] = _moved(tune.tuned[name], change - tuned)
        before += float(tuned.double().square().sum())
        after += float(change.double().square().sum())
    kept = math.sqrt(after / before) if before else 1.0
    for name, _ in tune.setting.start.named_parameters():
        if name not in matrices and not tune.setting.anatomy.is_head(name):
            state[name] = torch.lerp(wide(tune.base[name]), wide(tune.tuned[name]), kept).to(
                tune.tuned[name].dtype
            )
    return state


def _change(tune: FinishedTune, value: Tensor, name: str) -> Tensor:
    return wide(value) - wide(tune.base[name])


def _moved(value: Tensor, step: Tensor) -> Tensor:
    return torch.where(step == 0, value, (wide(value) + step).to(value.dtype))
