import networkx as nx
import pytest
import torch
from hypothesis import given, settings, strategies as st

from paramgraph import UnknownNameError, adjacency, laplacian, wavelets
from paramgraph.filters import itersine, meyer
from paramgraph.spectra import zero_operator

KINDS = ["itersine", "mexican_hat", "meyer"]


@settings(max_examples=30, deadline=None)
@given(kind=st.sampled_from(["itersine", "meyer"]), scales=st.integers(2, 9), bound=st.floats(0.01, 100))
def test_squares_of_a_tight_frame_add_up_to_one(kind, scales, bound):
    x = torch.linspace(0, bound, 301, dtype=torch.float64)
    total = sum(h(x).square() for h in wavelets(bound, scales, kind))
    torch.testing.assert_close(total, torch.ones_like(x), atol=1e-12, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_first_is_the_lowpass_and_the_others_have_no_mean(kind):
    zero = torch.zeros(1, dtype=torch.float64)
    bank = wavelets(2.0, 5, kind)
    assert len(bank) == 5
    assert bank[0](zero) > 0.4
    for h in bank[1 if kind != "itersine" else 2 :]:
        assert h(zero).abs() < 1e-12


def test_bank_of_a_laplacian_reaches_its_bound():
    assert wavelets(laplacian(nx.path_graph(4)), 3) == wavelets(2.0, 3)
    star = laplacian(nx.star_graph(4), None)
    assert wavelets(star, 2) == [meyer(0, 2, star.bound), meyer(1, 2, star.bound)]


@pytest.mark.parametrize("kind", KINDS)
def test_graph_without_edges_has_a_bank(kind):
    gains = [h(torch.zeros(2)) for h in wavelets(zero_operator(2), 3, kind)]
    assert torch.isfinite(torch.stack(gains)).all()


def test_adjacency_is_refused():
    with pytest.raises(TypeError, match="Laplacian"):
        wavelets(adjacency(nx.path_graph(4)))


@pytest.mark.usefixtures("unchecked_types")
def test_unknown_bank_suggests_a_near_one():
    with pytest.raises(UnknownNameError, match="did you mean 'meyer'"):
        wavelets(2.0, kind="mayer")


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("scales", [1, 0, -2, 2.5, True, "4"])
def test_scales_that_make_no_bank_raise(scales):
    with pytest.raises(ValueError, match="scales"):
        wavelets(2.0, scales)


@pytest.mark.parametrize("bound", [-1.0, float("nan"), float("inf")])
def test_bound_must_be_finite_and_not_negative(bound):
    with pytest.raises(ValueError, match="bound"):
        wavelets(bound)


@pytest.mark.usefixtures("unchecked_types")
def test_bound_must_be_a_number():
    with pytest.raises(TypeError, match="number"):
        wavelets("wide")


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("index", [-1, 4, 1.0])
def test_index_must_be_in_the_bank(index):
    with pytest.raises(ValueError, match="index"):
        itersine(index)
