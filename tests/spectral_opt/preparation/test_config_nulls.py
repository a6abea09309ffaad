"""A config's null: a control that stands for its graph."""

import numpy as np
import pytest
import torch
from torch import nn

from paramgraph import Complete, NumericalWarning
from paramgraph.spectra import null_operator
from spectral_opt import SpectralConfig, explain
from spectral_opt.preparation import prepare

KNN = {"builder": "cosine_knn", "builder_options": {"k": 3}, "source": "weights", "seed": 3}
GRAM = {"builder": "gram", "shift": "adjacency", "source": "weights", "seed": 3}


@pytest.fixture(scope="module")
def model():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 6)).double()


def operator(model, **fields):
    return prepare(model, SpectralConfig(**fields))[0].operator


def test_permuted_is_what_the_builder_of_that_name_gives(model):
    wrapped = {
        "builder": "permuted",
        "builder_options": {"builder": SpectralConfig(**KNN).make_builder(), "seed": 3},
    }
    expected = operator(model, **(KNN | wrapped))
    assert operator(model, **KNN, null="permuted").fingerprint() == expected.fingerprint()


def test_random_keeps_the_number_of_neighbours_and_nothing_else(model):
    plain, null = (operator(model, **KNN, null=kind).to_dense() for kind in (None, "random"))
    assert (np.count_nonzero(plain, axis=1) == np.count_nonzero(null, axis=1)).all()
    assert np.abs(plain - null).max() > 0.1


@pytest.mark.parametrize("scheme", ["rows", "columns"])
def test_rotated_keeps_the_spectrum_and_no_direction(model, scheme):
    plain, null = (operator(model, **GRAM, scheme=scheme, null=kind).to_dense() for kind in (None, "rotated"))
    np.testing.assert_allclose(np.linalg.eigvalsh(null), np.linalg.eigvalsh(plain), atol=1e-12)  # float64
    assert np.abs(plain - null).max() > 0.1


@pytest.mark.parametrize("kind", ["permuted", "rotated", "strongest", "diagonal", "swapped"])
@pytest.mark.parametrize("energy", [None, "model"])
def test_on_entries_it_is_the_null_of_both_sides_together(model, kind, energy):
    batches = {"preserve": list(torch.randn(4, 8, 6, generator=torch.Generator().manual_seed(0)).double())}
    X = torch.randn(16, 6, generator=torch.Generator().manual_seed(1)).double()
    plain, null = (
        prepare(model, SpectralConfig.preserve(energy=energy, seed=3, null=given), batches)[0].operator
        for given in (None, kind)
    )
    expected = null_operator(plain.operator, kind, 3) @ X
    torch.testing.assert_close(null @ X, expected)
    assert (plain @ X - expected).norm() > 0.1 * expected.norm()


@pytest.mark.parametrize(("fields", "strong"), [(KNN, 0), (GRAM, -1)])
@pytest.mark.parametrize("kind", ["strongest", "swapped"])
def test_what_is_made_of_the_modes_keeps_them(model, fields, strong, kind):
    values, modes = np.linalg.eigh(operator(model, **fields).to_dense())
    found = modes.T @ operator(model, **fields, null=kind).to_dense() @ modes
    expected = (
        values[::-1] if kind == "swapped" else np.full(16, values.mean() * 16 / 15 if fields is KNN else 0.0)
    )
    expected = expected.copy()
    if kind == "strongest":
        expected[strong] = values[strong]
    np.testing.assert_allclose(found, np.diag(expected), rtol=0, atol=1e-12)  # float64


def test_the_diagonal_is_all_that_is_left(model):
    plain = operator(model, **GRAM).to_dense()
    assert (operator(model, **GRAM, null="diagonal").to_dense() == np.diag(plain.diagonal())).all()


@pytest.mark.parametrize("kind", ["permuted", "random"])
def test_another_seed_draws_another_control(model, kind):
    found = [operator(model, **(KNN | {"seed": seed}), null=kind).fingerprint() for seed in (3, 3, 4)]
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (KNN | {"null": "rotated"}, "'rotated' of a Laplacian says nothing.*shift='adjacency'"),
        (KNN | {"null": "diagonal"}, "'diagonal' of a Laplacian says nothing"),
        (
            KNN | {"null": "swapped", "normalization": "rw", "penalty": 0.0},
            "'swapped' needs the modes of a symmetric operator",
        ),
        (GRAM | {"null": "random"}, "leave no choice where builder 'gram' links all nodes; use 'permuted'"),
        ({"builder": None, "null": "permuted"}, "builder is None: there is none"),
    ],
)
def test_a_null_that_is_none_is_refused_before_any_work(fields, words):
    with pytest.raises(ValueError, match=words):
        SpectralConfig(**fields)


def test_a_graph_whose_degrees_leave_no_choice_has_no_random_null(model):
    with (
        pytest.warns(NumericalWarning, match="came back as it was"),
        pytest.raises(ValueError, match="null='random' gives the same graph"),
    ):
        prepare(model, SpectralConfig(builder=Complete(), source="weights", null="random"))


def test_it_is_told(model):
    assert "null='permuted', seed 3: a control stands for the graph" in str(
        explain(model, SpectralConfig(**KNN, null="permuted"))
    )
