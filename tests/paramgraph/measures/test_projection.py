import networkx as nx
import numpy as np
import pytest
import torch

from paramgraph import eigenpairs, laplacian, project_gradients
from paramgraph.measures import project_signal


@pytest.fixture
def spectrum():
    return eigenpairs(laplacian(nx.path_graph(7)))


@pytest.fixture
def gradients(generator):
    return torch.randn(5, 7, 3, generator=generator, dtype=torch.float64)


def test_mode_is_projected_onto_itself_alone(spectrum):
    found = project_signal(spectrum, spectrum.eigenvectors[:, 2])
    assert torch.allclose(found[:, 0], torch.eye(7, dtype=torch.float64)[2], atol=1e-12)  # rounding


def test_energy_stays(spectrum, gradients):
    assert float(project_signal(spectrum, gradients[0]).square().sum()) == pytest.approx(
        float(gradients[0].square().sum())
    )


def test_products_are_those_of_gradients_that_are_projected_one_by_one(spectrum, gradients):
    found = project_gradients(spectrum, gradients)
    p = torch.einsum("nk,bnw->bkw", spectrum.eigenvectors, gradients)
    m = p.mean(dim=0)
    assert np.allclose(found.mean_energy, m.square().sum(dim=1))
    assert np.allclose(found.with_mean, torch.einsum("kw,bkw->kb", m, p))
    assert np.allclose(found.energy, p.square().sum(dim=2).T)
    assert found.batches == 5


def test_sequence_and_tensor_of_batches_give_the_same(spectrum, gradients):
    one, other = project_gradients(spectrum, gradients), project_gradients(spectrum, list(gradients))
    assert np.array_equal(one.energy, other.energy)
    assert np.array_equal(one.with_mean, other.with_mean)


def test_half_precision_is_projected_in_float64_and_left_as_it_is(spectrum, gradients):
    half = gradients.to(torch.bfloat16)
    kept = half.clone()
    found = project_gradients(spectrum, half)
    assert np.array_equal(found.energy, project_gradients(spectrum, half.double()).energy)
    assert torch.equal(half, kept)


@pytest.mark.parametrize("shape", [(6, 3), (8,), (7, 3, 1), ()])
def test_other_rows_are_refused(spectrum, shape):
    with pytest.raises(ValueError, match="must have the shape"):
        project_signal(spectrum, torch.zeros(shape))


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_values_that_are_not_finite_are_refused(spectrum, gradients, value):
    gradients[1, 2, 0] = value
    with pytest.raises(ValueError, match="NaN or infinite"):
        project_gradients(spectrum, gradients)


@pytest.mark.parametrize("other", [torch.ones(7, 1), torch.ones(7)])
def test_gradients_of_different_widths_are_refused(spectrum, gradients, other):
    with pytest.raises(ValueError, match="gradients of all batches have one shape"):
        project_gradients(spectrum, [*gradients, other])


def test_no_gradients_are_refused(spectrum):
    with pytest.raises(ValueError, match="at least one batch"):
        project_gradients(spectrum, [])
