"""Filters of signals that lie on an accelerator; run by `make test-gpu`."""

import networkx as nx
import pytest
import torch

from paramgraph import apply_filter, apply_filter_bank, heat, laplacian, prepare_filter, tikhonov, wavelets

pytestmark = pytest.mark.gpu

GRAPH = nx.random_geometric_graph(200, 0.15, seed=0)
METHODS = [{"method": "exact"}, {"rank": 20}, {"method": "chebyshev"}, {"method": "solve"}]


def signal(dtype):
    return torch.randn(200, 5, generator=torch.Generator().manual_seed(0)).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("options", METHODS, ids=str)
@pytest.mark.parametrize("normalization", ["sym", "rw"])
def test_filter_is_that_of_the_cpu(dtype, options, normalization):
    operator, X = laplacian(GRAPH, normalization), signal(dtype)
    response = tikhonov(1.0) if options.get("method") == "solve" else heat(1.0)
    there = apply_filter(operator, X.cuda(), response, **options)
    assert (there.device.type, there.dtype) == ("cuda", dtype)
    here = apply_filter(operator, X.double(), response, **options)
    # One rounding of entries below 4 to the dtype, and float32 sums of 200 terms.
    atol = max(8 * torch.finfo(dtype).eps, 1e-12)
    torch.testing.assert_close(there.cpu().double(), here, atol=atol, rtol=0)


@pytest.mark.parametrize("options", METHODS, ids=str)
def test_gradient_is_the_filter_of_the_upstream_gradient(options):
    response = tikhonov(1.0) if options.get("method") == "solve" else heat(1.0)
    prepared = prepare_filter(laplacian(GRAPH), response, **options)
    X = signal(torch.float64).cuda().requires_grad_()
    upstream = torch.ones_like(X)
    prepared(X).backward(upstream)
    torch.testing.assert_close(X.grad, prepared(upstream), atol=1e-12, rtol=0)


def test_bank_is_that_of_the_cpu():
    operator, X = laplacian(GRAPH), signal(torch.float64)
    bank = wavelets(operator, 4)
    there = apply_filter_bank(operator, X.cuda(), bank, "chebyshev", order=100)
    here = apply_filter_bank(operator, X, bank, "chebyshev", order=100)
    for one, other in zip(there, here, strict=True):
        torch.testing.assert_close(one.cpu(), other, atol=1e-12, rtol=0)
