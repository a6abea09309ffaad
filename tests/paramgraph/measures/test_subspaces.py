import math
import warnings

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from paramgraph import NumericalWarning, eigenpairs, laplacian, subspace_alignment

EYE = torch.eye(6, dtype=torch.float64)


def columns(nodes: int, width: int, seed: int) -> torch.Tensor:
    return torch.randn(nodes, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("angle", [0.0, 1e-7, 0.3, 1.2, math.pi / 2])
def test_angle_of_two_lines_is_found_small_ones_too(angle):
    turned = math.cos(angle) * EYE[:, :1] + math.sin(angle) * EYE[:, 1:2]
    found = subspace_alignment(EYE[:, :1], turned)
    # An arc cosine alone would lose 1e-7: its cosine is 1 to the last bit.
    assert found.angles[0] == pytest.approx(angle, abs=1e-14)
    assert found.alignment == pytest.approx(math.cos(angle) ** 2, abs=1e-14)


def test_orthogonal_subspaces_are_not_aligned_and_nested_ones_wholly():
    assert subspace_alignment(EYE[:, :2], EYE[:, 2:5]).alignment == pytest.approx(0, abs=1e-30)
    nested = subspace_alignment(EYE[:, :2], EYE[:, :5])
    assert nested.alignment == pytest.approx(1, abs=1e-14)
    assert nested.dimensions == (2, 5)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), p=st.integers(1, 5), q=st.integers(1, 5))
def test_alignment_is_that_of_projectors_whatever_the_basis(seed, p, q):
    U, V = columns(9, p, seed), columns(9, q, seed + 1)
    found = subspace_alignment(U, V)
    P, Q = (X @ torch.linalg.pinv(X) for X in (U, V))
    assert found.alignment == pytest.approx(torch.trace(P @ Q).item() / min(p, q), abs=1e-9)
    mixed = subspace_alignment(V @ columns(q, q, seed + 2), U @ columns(p, p, seed + 3))
    # A random square matrix is conditioned by up to some 1e4.
    assert mixed.alignment == pytest.approx(found.alignment, abs=1e-8)


def test_random_subspaces_are_aligned_as_much_as_chance_says():
    found = [subspace_alignment(columns(30, 4, 2 * seed), columns(30, 7, 2 * seed + 1)) for seed in range(60)]
    # The standard deviation of one is about .04, of the mean of sixty .005.
    assert np.mean([one.alignment for one in found]) == pytest.approx(7 / 30, abs=0.016)
    assert found[0].expected == 7 / 30


def test_dependent_columns_count_once():
    doubled = torch.cat([EYE[:, :2], EYE[:, :2] * 3], 1)
    assert subspace_alignment(doubled, EYE[:, :2]).dimensions == (2, 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_any_floating_dtype_is_taken(dtype):
    assert subspace_alignment(EYE[:, :2].to(dtype), EYE[:, :3]).alignment == pytest.approx(1, abs=1e-14)


def test_relabelled_eigenspace_of_a_ring_is_the_same():
    # The two lowest modes after the constant are degenerate: any rotation of them is as good.
    first = eigenpairs(laplacian(nx.cycle_graph(12)), k=6)
    second = eigenpairs(laplacian(nx.cycle_graph(12)), k=6, seed=5)
    assert subspace_alignment(first, second, k=3).alignment == pytest.approx(1, abs=1e-10)


def test_cutting_a_degenerate_pair_warns_and_cutting_at_a_gap_does_not():
    spectrum = eigenpairs(laplacian(nx.cycle_graph(12)), k=6)
    with pytest.warns(NumericalWarning, match="k = 2 cuts a set of equal eigenvalues"):
        subspace_alignment(spectrum, torch.eye(12)[:, :3], k=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        subspace_alignment(spectrum, torch.eye(12)[:, :3], k=1)


@pytest.mark.parametrize(("nodes", "width"), [(0, 0), (3, 0)])
def test_no_dimension_has_no_alignment(nodes, width):
    found = subspace_alignment(torch.zeros(nodes, width), torch.zeros(nodes, width))
    assert math.isnan(found.alignment)
    assert found.angles.shape == (0,)


def test_columns_of_zeros_span_nothing():
    assert subspace_alignment(torch.zeros(4, 2), torch.eye(4)).dimensions == (0, 4)


@pytest.mark.parametrize(
    ("first", "k", "error", "match"),
    [
        (torch.ones(5, 1), None, ValueError, "5 and 6 nodes"),
        (torch.full((6, 1), math.nan), None, ValueError, "NaN"),
        (torch.ones(6), None, ValueError, "floating tensor"),
        (torch.ones(6, 2, dtype=torch.int64), None, ValueError, "floating tensor"),
        (EYE, 7, ValueError, "k must be 0 to 6"),
        (EYE, -1, ValueError, "k must be 0 to 6"),
        (np.eye(6), None, TypeError, "ndarray"),
    ],
    ids=["nodes", "NaN", "vector", "integers", "k too large", "k negative", "array"],
)
@pytest.mark.usefixtures("unchecked_types")
def test_bad_subspace_raises(first, k, error, match):
    with pytest.raises(error, match=match):
        subspace_alignment(first, EYE, k)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_a_column_that_depends_on_others_but_for_the_rounding_of_its_dtype_counts_not(dtype):
    plane = columns(300, 2, 0)
    depending = torch.cat([plane, plane @ torch.tensor([[0.3], [1.7]], dtype=torch.float64)], 1).to(dtype)
    found = subspace_alignment(depending, depending[:, :2])
    assert found.dimensions == (2, 2)
    assert found.alignment == pytest.approx(1, abs=20 * torch.finfo(dtype).eps ** 2 + 1e-14)


def test_a_span_knows_nothing_of_the_length_of_its_columns():
    found = subspace_alignment(EYE[:, :2] * torch.tensor([1.0, 1e-20]), EYE[:, 1:2] * 1e200)
    assert found.dimensions == (2, 1)
    assert found.alignment == pytest.approx(1, abs=1e-14)
