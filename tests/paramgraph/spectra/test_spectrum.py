import numpy as np
import pytest
import torch

from paramgraph import Spectrum
from paramgraph.spectra import EigenProblem, fix_signs


def test_signs_are_fixed_by_the_largest_entry():
    vectors = np.array([[0.1, -0.9], [-0.9, 0.1]])
    assert fix_signs(vectors).tolist() == [[-0.1, 0.9], [0.9, -0.1]]


def test_rounding_does_not_decide_between_two_largest_entries():
    vectors = np.array([[0.7, 0.7], [-0.7 * (1 + 1e-15), -0.7 * (1 - 1e-15)]])
    assert (fix_signs(vectors)[0] > 0).all()


def test_no_vectors_have_no_signs():
    assert fix_signs(np.zeros((0, 0))).shape == (0, 0)


def test_spectrum_converts_and_knows_whether_it_is_complete():
    values, vectors = torch.zeros(2, dtype=torch.float64), torch.zeros(3, 2, dtype=torch.float64)
    spectrum = Spectrum(values, vectors, values, "dense", "", 1)
    single = spectrum.to(dtype=torch.float32)
    assert single.eigenvectors.dtype == single.eigenvalues.dtype == torch.float32
    assert (single.nodes, single.modes, single.complete) == (3, 2, False)
    assert spectrum.eigenvectors.dtype == torch.float64


@pytest.mark.parametrize("width", [1, 4])
def test_start_vectors_are_seeded_and_orthogonal_to_the_null_vector(width):
    null = np.full(9, 1 / 3)
    task = EigenProblem(np.eye(9), 1, True, (0.0, 1.0), null, seed=5)
    assert np.array_equal(task.start(width), task.start(width))
    np.testing.assert_allclose(null @ task.start(width), 0, atol=1e-15)


def test_projection_without_a_null_vector_changes_nothing():
    task = EigenProblem(np.eye(2), 1, False, (1.0, 1.0))
    vector = np.array([1.0, 2.0])
    assert np.array_equal(task.project(vector), vector)
