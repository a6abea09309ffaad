"""Which parameters are matrices of the encoder: what low-rank adapters and optimizers of matrices act on."""

from collections.abc import Sequence

from torch import nn

from paramgraph.nodes import node_tables
from spectral_opt.study import Training
from spectral_opt.tasks import unused_by_mean_pooling


def matrix_names(model: nn.Module) -> list[str]:
    """Name the weights of linear layers of an encoder or classifier, its head and an unused pooler left out."""
    tables = node_tables(model, exclude=unused_by_mean_pooling(model))
    return [name for table in tables.values() for name in table.parameters]


def split_matrices(
    training: Training, parameters: Sequence[nn.Parameter]
) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Split what is trained into the matrices of the encoder and the rest: biases, norms, embeddings, head."""
    named = dict(training.model.named_parameters())
    matrices = {id(named[name]) for name in matrix_names(training.model)}
    return (
        [one for one in parameters if id(one) in matrices],
        [one for one in parameters if id(one) not in matrices],
    )
