"""What a filter of one's own gets by deriving from the base, and what those of the package declare."""

from dataclasses import dataclass

import networkx as nx
import pytest
import torch

from paramgraph import ProductGraph, contrast, heat, laplacian, prepare_filter, tikhonov
from paramgraph.filters import ReadyFilter

EDGE = laplacian(nx.path_graph(2), None)


@dataclass(frozen=True)
class Scaled(ReadyFilter):
    nodes: int
    factor: float
    method: str = "scaling"
    reason: str = "asked for"

    def response(self, eigenvalues):
        return torch.full_like(eigenvalues, self.factor)

    @property
    def is_identity(self):
        return self.factor == 1.0

    def _delta(self, signal):
        return (self.factor - 1.0) * signal


def test_a_filter_of_ones_own_says_no_more_than_its_delta():
    X = torch.ones(3, 2, dtype=torch.bfloat16)
    half = Scaled(3, 0.5)
    assert torch.equal(half(X), X / 2)
    assert torch.equal(half.correction(X), -X / 2)
    assert half.modes is None
    assert half.thin_factors(X.device, X.dtype) is None
    with pytest.raises(ValueError, match=r"\(3,\) or \(3, width\)"):
        half(torch.ones(4, 2))


@pytest.mark.parametrize("rank", [3, 16, 20])
def test_thin_factors_are_the_correction(rank):
    ready = prepare_filter(laplacian(nx.cycle_graph(48)), tikhonov(1.0), rank=rank)
    X = torch.linspace(-1.0, 1.0, 96, dtype=torch.float64).view(48, 2).cos()
    basis, gain, surplus, rest = ready.thin_factors(X.device, X.dtype)
    modes = basis.T @ X
    torch.testing.assert_close(basis @ (gain[:, None] * modes) + rest * X, ready.correction(X))
    energy = (1.0 + rest) ** 2 * X.square().sum() + surplus @ modes.square().sum(1)
    torch.testing.assert_close(energy, ready(X).square().sum())


def test_the_identity_of_ones_own_gives_back_every_bit():
    X = torch.tensor([1.0, -0.0, 3.0])
    same = Scaled(3, 1.0)(X)
    assert same is not X
    assert torch.equal(same, X)
    assert torch.signbit(same[1])


@pytest.mark.parametrize(
    "ready",
    [
        prepare_filter(EDGE, tikhonov(1.0)),
        ProductGraph(EDGE, EDGE).prepare_filter(heat(1.0)),
        contrast(torch.eye(2), torch.eye(2)),
    ],
    ids=["graph", "product", "contrast"],
)
def test_every_filter_declares_what_is_asked_of_it(ready):
    assert isinstance(ready, ReadyFilter)
    assert ready.nodes in (2, 4)
    assert callable(ready.response)
    assert ready.method in ("exact", "separable")
    assert ready.reason
    X = torch.ones(2, 2)
    torch.testing.assert_close(ready(X), X + ready.correction(X))


def test_only_a_filter_by_eigenvectors_of_its_nodes_shows_them():
    basis, gain = prepare_filter(EDGE, tikhonov(1.0)).modes
    assert (basis.shape[0], len(gain)) == (2, basis.shape[1])
    assert ProductGraph(EDGE, EDGE).prepare_filter(heat(1.0)).modes is None
    assert prepare_filter(EDGE, tikhonov(1.0), "solve").modes is None
