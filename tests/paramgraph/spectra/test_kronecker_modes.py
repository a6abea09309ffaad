import numpy as np
import pytest
import torch

from paramgraph import adjacency, eigenpairs
from paramgraph.spectra import KroneckerModes, KroneckerProduct

SOURCE = torch.Generator().manual_seed(0)


def basis(nodes: int, modes: int) -> torch.Tensor:
    square = torch.randn(nodes, nodes, dtype=torch.float64, generator=SOURCE)
    return torch.linalg.qr(square).Q[:, :modes].contiguous()


U, V = basis(6, 6), basis(4, 4)
S = torch.rand(6, 4, dtype=torch.float64, generator=SOURCE)
MODES = KroneckerModes(U, V, S)
X = torch.randn(6, 4, dtype=torch.float64, generator=SOURCE)


@pytest.mark.parametrize("modes", [MODES, KroneckerModes(U[:, :3], V[:, :2], S[:3, :2])])
def test_product_is_that_of_the_explicit_matrix(modes):
    basis = np.kron(modes.row_basis, modes.column_basis)
    explicit = basis @ np.diag(modes.eigenvalues.flatten()) @ basis.T
    np.testing.assert_allclose(modes.to_scipy().toarray(), explicit, atol=1e-15)
    # Sums of 24 terms of float64 in another order.
    np.testing.assert_allclose((modes @ X).flatten().numpy(), explicit @ X.flatten().numpy(), atol=1e-13)
    np.testing.assert_allclose(
        modes.to_linear_operator() @ X.flatten().numpy(), explicit @ X.flatten().numpy(), atol=1e-13
    )
    torch.testing.assert_close(
        modes.times(torch.stack([X, 2 * X], -1))[..., 1], 2 * (modes @ X), rtol=1e-14, atol=1e-14
    )
    low, high = modes.interval
    values = np.linalg.eigvalsh(explicit)
    assert low - 1e-14 <= values[0]
    assert values[-1] <= high + 1e-14


def test_outer_products_of_eigenvalues_are_the_kronecker_product():
    factors = [adjacency(each.numpy() @ each.numpy().T) for each in (X, X.T)]
    rows, columns = map(eigenpairs, factors)
    values = torch.outer(rows.eigenvalues, columns.eigenvalues).clamp(min=0)
    modes = KroneckerModes(rows.eigenvectors, columns.eigenvectors, values)
    torch.testing.assert_close(modes @ X, KroneckerProduct(*factors) @ X, rtol=1e-12, atol=1e-11)


def test_bases_are_held_as_they_come():
    single = KroneckerModes(U.float(), V.float(), S.float())
    assert single._tensors == {}
    _ = single @ X.float()
    held = single._tensors[X.device, torch.float32]
    assert [part.data_ptr() for part in held] == [
        part.data_ptr() for part in (single.row_basis, single.column_basis, single.eigenvalues)
    ]
    assert (single @ X.bfloat16()).dtype == torch.bfloat16
    assert (single @ X).dtype == torch.float64


def test_permuted_modes_are_the_same_on_other_rows_and_columns():
    torch.manual_seed(7)
    before = torch.get_rng_state()
    null = MODES.permuted(3)
    assert torch.equal(torch.get_rng_state(), before)
    p = [int((null.row_basis == row).all(1).nonzero()) for row in U]
    q = [int((null.column_basis == row).all(1).nonzero()) for row in V]
    assert sorted(p) == list(range(6)) != p
    assert sorted(q) == list(range(4))
    moved = torch.empty_like(X)
    moved[np.ix_(p, q)] = X
    torch.testing.assert_close((null @ moved)[np.ix_(p, q)], MODES @ X, rtol=1e-13, atol=1e-13)
    assert torch.equal(MODES.permuted(3).row_basis, null.row_basis)
    assert not torch.equal(MODES.permuted(4).row_basis, null.row_basis)


def test_rotated_modes_keep_nothing_but_the_spectrum():
    null = KroneckerModes(U[:, :3].float(), V.float(), S[:3].float()).rotated(3)
    assert null.row_basis.dtype == torch.float32
    # One rounding of float32 for each of 6 terms.
    torch.testing.assert_close(null.row_basis.T @ null.row_basis, torch.eye(3), rtol=0, atol=1e-6)
    torch.testing.assert_close(null.column_basis.T @ null.column_basis, torch.eye(4), rtol=0, atol=1e-6)
    assert torch.equal(null.eigenvalues, S[:3].float())
    assert not torch.allclose(null.row_basis, U[:, :3].float(), atol=0.1)


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda: KroneckerModes(U, V, S.T), r"shape \(6, 4\), one for each pair"),
        (lambda: KroneckerModes(U, V, -S), "not negative"),
        (lambda: KroneckerModes(U, V, S * torch.nan), "finite"),
        (lambda: KroneckerModes(U[:2], V, S), "row basis"),
        (lambda: KroneckerModes(U, V * torch.nan, S), "column basis holds NaN"),
        (lambda: MODES @ X.T, r"\(6, 4\)"),
    ],
)
def test_what_does_not_fit_is_refused(change, words):
    with pytest.raises(ValueError, match=words):
        change()


@pytest.mark.usefixtures("unchecked_types")
def test_eigenvalues_of_numpy_are_named():
    with pytest.raises(TypeError, match="the eigenvalues must be a tensor, got ndarray"):
        KroneckerModes(U, V, S.numpy())


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (1, 1), (1, 4)])
def test_small_and_empty_matrices_have_modes(shape):
    bases = [torch.eye(n) for n in shape]
    modes = KroneckerModes(*bases, torch.full(shape, 2.0))
    assert torch.equal(modes @ torch.ones(shape), torch.full(shape, 2.0))
    assert modes.components is None
    assert modes.kind == "adjacency"
