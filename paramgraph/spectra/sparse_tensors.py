"""A SciPy matrix as a torch sparse tensor."""

import warnings
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from jaxtyping import Float
from torch import Tensor

from paramgraph.graphs import Matrix


def sparse_tensor(
    matrix: Matrix, device: Any, dtype: torch.dtype, layout: str
) -> Float[Tensor, "rows columns"]:
    """Copy the entries of a matrix to a torch sparse tensor.

    Parameters
    ----------
    matrix : csr_array or ndarray of shape (rows, columns)
        Indices sorted; zeros of a dense matrix are not stored.
    device : torch.device or str
        Where it shall lie.
    dtype : torch.dtype
        A floating one.
    layout : {"coo", "csr"}
        Which of the two; torch's warning that CSR is in beta is not passed on.

    Returns
    -------
    Tensor of shape (rows, columns)
        Coalesced; O(entries) time and memory.

    Examples
    --------
    >>> sparse_tensor(sp.csr_array([[0.0, 2.0]]), "cpu", torch.float32, "csr").to_dense()
    tensor([[0., 2.]])
    """
    entries = sp.coo_array(matrix)
    places = torch.tensor(np.stack([entries.row, entries.col]).astype(np.int64), device=device)
    values = torch.tensor(entries.data, dtype=dtype, device=device)
    # Rows of a CSR are in order, so coalescing would only sort again.
    tensor = torch.sparse_coo_tensor(
        places, values, matrix.shape, device=device, is_coalesced=True, check_invariants=False
    )
    if layout == "coo":
        return tensor
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta", UserWarning)
        return tensor.to_sparse_csr()
