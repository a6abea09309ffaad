"""Products of all rows with all, half of them mirrored."""

import pytest
import torch

from paramgraph.graphs.affinity import symmetric_product


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("nodes", [1, 64, 150])  # a tile, and some that end within one
def test_it_is_the_product_and_symmetric_to_the_last_bit(nodes: int, dtype: torch.dtype) -> None:
    rows = torch.randn(7, nodes, dtype=dtype, generator=torch.Generator().manual_seed(0)).T
    product = symmetric_product(rows)
    assert product.dtype == dtype
    assert product.is_contiguous()
    assert torch.equal(product, product.T)
    # Sums of seven products in another order.
    torch.testing.assert_close(product, rows @ rows.T, rtol=0, atol=60 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("shape", [(0, 3), (2, 0)])
def test_no_rows_or_no_columns_give_zeros(shape: tuple[int, int]) -> None:
    assert torch.equal(symmetric_product(torch.zeros(shape)), torch.zeros(shape[0], shape[0]))
