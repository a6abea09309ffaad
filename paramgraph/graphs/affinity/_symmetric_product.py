"""Products of all rows of a matrix with all, half of them computed: those of (i, j) and (j, i) are one number."""

import torch
from jaxtyping import Float
from scipy.linalg import get_blas_funcs
from torch import Tensor

_TILE = 64  # rows that are mirrored at a time: a whole transpose would read each line of the cache many times


def symmetric_product(rows: Float[Tensor, "nodes width"]) -> Float[Tensor, "nodes nodes"]:
    """Multiply X X^T in the precision of X, float32 or float64: on the CPU half of it, which is mirrored.

    nodes^2 x width operations on the CPU, twice as many elsewhere, where the average with the transpose is taken.

    >>> symmetric_product(torch.tensor([[1.0, 2.0], [0.0, 3.0]])).tolist()
    [[5.0, 6.0], [6.0, 9.0]]
    """
    if rows.device.type != "cpu" or not rows.numel():
        product = rows @ rows.T
        return (product + product.T) / 2
    # One call beats panels of torch's products by a fifth to a half. Column by column its lower triangle is, row by
    # row, the upper one.
    columns = rows.contiguous().numpy().T
    product = torch.from_numpy(get_blas_funcs("syrk", (columns,))(1.0, columns, trans=1, lower=1).T)
    for start in range(0, len(rows), _TILE):
        stop = start + _TILE
        tile = product[start:stop, start:stop]
        tile.add_(tile.triu(1).T)
        product[stop:, start:stop] = product[start:stop, stop:].T
    return product
