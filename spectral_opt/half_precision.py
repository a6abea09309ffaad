"""Room for sums and differences of half-precision tensors."""

import torch
from jaxtyping import Float
from torch import Tensor


def wide(X: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Widen half precision, so that a difference keeps its bits and a sum over a matrix does not stall.

    Parameters
    ----------
    X : Tensor
        Of any floating dtype.

    Returns
    -------
    Tensor
        In float32 where `X` is bfloat16 or float16, else `X` itself.

    Examples
    --------
    >>> wide(torch.ones(2, dtype=torch.float16)).dtype
    torch.float32
    """
    return X.float() if X.dtype in (torch.bfloat16, torch.float16) else X
