"""Laplacian smoothing gradient descent (arXiv 1806.06317) is one filter of this package: its FFT is the peer."""

import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from paramgraph import Ring, laplacian, tikhonov
from spectral_opt import filter_gradients


def smoothed_by_fft(gradient, sigma):
    """Solve (I - sigma Laplace) x = g on the circle of all entries, as the authors' code does."""
    flat = gradient.double().numpy().ravel()
    stencil = np.zeros(flat.size)
    stencil[[0, 1, -1]] = 2.0, -1.0, -1.0
    smooth = np.fft.ifft(np.fft.fft(flat) / (1 + sigma * np.fft.fft(stencil))).real
    return torch.from_numpy(smooth.reshape(gradient.shape))


def ring(nodes):
    return laplacian(Ring()(Data(num_nodes=nodes)), normalization=None)


@pytest.mark.parametrize("shape", [(24,), (6, 4), (2, 3, 5)], ids=str)
@pytest.mark.parametrize("sigma", [0.0, 0.5, 3.0])
@pytest.mark.parametrize("method", ["exact", "chebyshev"])
def test_the_ring_of_all_entries_with_tikhonov_is_laplacian_smoothing(shape, sigma, method):
    gradient = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    operators = {"w": ring(gradient.numel())}
    found = filter_gradients({"w": gradient}, operators, tikhonov(sigma), method=method)["w"]
    # Order 30 leaves an error of the response below 1e-4 at sigma 3 (poles at -1/3).
    torch.testing.assert_close(
        found, smoothed_by_fft(gradient, sigma), rtol=0, atol=1e-10 if method == "exact" else 1e-3
    )


def test_the_ring_of_rows_smooths_each_column_and_is_not_it():
    gradient = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = filter_gradients({"w": gradient}, {"w": ring(6)}, tikhonov(1.0))["w"]
    by_column = torch.stack([smoothed_by_fft(column, 1.0) for column in gradient.T], dim=1)
    torch.testing.assert_close(found, by_column)
    assert not torch.allclose(found, smoothed_by_fft(gradient, 1.0), atol=0.1)


def test_smoothing_keeps_the_mean():
    gradient = torch.randn(5, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = filter_gradients({"w": gradient}, {"w": ring(40)}, tikhonov(7.0))["w"]
    torch.testing.assert_close(found.mean(), gradient.mean())
