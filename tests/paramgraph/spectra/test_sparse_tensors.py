import numpy as np
import pytest
import scipy.sparse as sp
import torch

from paramgraph.spectra import sparse_tensor

MATRIX = np.array([[0.0, 2.0, 0.0], [0.0, 0.0, -1.0]])


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("layout", ["coo", "csr"])
def test_entries_are_those_of_the_matrix_and_zeros_are_not_stored(kind, layout):
    tensor = sparse_tensor(kind(MATRIX), "cpu", torch.float64, layout)
    assert np.array_equal(tensor.to_dense().numpy(), MATRIX)
    assert tensor._nnz() == 2


def test_other_device_than_the_default_one():
    with torch.device("meta"):
        assert sparse_tensor(sp.csr_array(MATRIX), "cpu", torch.float32, "coo").device.type == "cpu"
