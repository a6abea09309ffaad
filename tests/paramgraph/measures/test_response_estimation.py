import networkx as nx
import numpy as np
import pytest
import scipy.stats
import torch

from paramgraph import adjacency, apply_filter, eigenpairs, laplacian, measured, pool_bands, signal_to_noise
from paramgraph.measures import FIFTHS, LOW_BANDS

NODES, WIDTH = 20, 6
OPERATOR = laplacian(nx.random_geometric_graph(NODES, 0.5, seed=3))
SPECTRUM = eigenpairs(OPERATOR)
U = SPECTRUM.eigenvectors
LEVEL = torch.tensor([1.0, 0.5, 0.0, 0.0, 0.0], dtype=torch.float64).repeat_interleave(4)


def draw(batches: int, seed: int, level: torch.Tensor = LEVEL, noise: float = 1.0) -> torch.Tensor:
    source = torch.Generator().manual_seed(seed)
    part = torch.randn(batches, NODES, WIDTH, dtype=torch.float64, generator=source)
    return U @ (level[:, None] + noise * part)


def test_gains_are_signal_over_signal_and_noise_clipped_at_the_end():
    G = draw(8, 0)
    found, plain = measured(SPECTRUM, G, FIFTHS), signal_to_noise(SPECTRUM, G, FIFTHS)
    raw = plain.signal / (plain.signal + plain.noise)
    np.testing.assert_allclose(found.raw, raw, rtol=1e-12)
    np.testing.assert_allclose(found.gains, np.clip(raw, 0, 1), rtol=1e-12)
    assert found.clipped == (raw < 0).sum() > 0
    assert found.modes == (4,) * 5


def test_many_batches_find_the_wiener_gains():
    found = measured(SPECTRUM, draw(300, 1), FIFTHS)
    # Signal 1, 1/4, 0 in units of the noise; a standard error of about 0.01 with 24 numbers of 300 batches.
    np.testing.assert_allclose(found.gains, [0.5, 0.2, 0, 0, 0], atol=0.04)


def test_gains_are_those_that_miss_the_expected_gradient_least():
    G, truth = draw(300, 2), U @ LEVEL[:, None].expand(NODES, WIDTH)
    best = measured(SPECTRUM, G, FIFTHS)

    def miss(response):
        return (apply_filter(OPERATOR, G.transpose(0, 1).reshape(NODES, -1), response, spectrum=SPECTRUM)
                .reshape(NODES, 300, WIDTH).transpose(0, 1) - truth).square().mean()  # fmt: skip

    for step in (-0.1, 0.1):
        assert miss(best) < miss(lambda x, step=step: best(x) + step)


def test_averaging_batches_divides_the_noise():
    G = draw(8, 0)
    plain = signal_to_noise(SPECTRUM, G, FIFTHS)
    found = measured(SPECTRUM, G, FIFTHS, batches_averaged=19)
    np.testing.assert_allclose(found.raw, plain.signal / (plain.signal + plain.noise / 19), rtol=1e-12)
    assert found.batches_averaged == 19


def test_signal_of_other_batches_counts_as_noise_and_their_noise_does_not():
    G, other = draw(8, 0), draw(6, 5, LEVEL.flip(0), noise=0.01)
    S, S_o = signal_to_noise(SPECTRUM, G), signal_to_noise(SPECTRUM, other)
    found = measured(SPECTRUM, G, FIFTHS, noise_gradients=other)
    np.testing.assert_allclose(found.raw, S.signal / (S.signal + S.noise + S_o.signal), rtol=1e-12)
    alone = measured(SPECTRUM, G, FIFTHS)
    assert found.raw[0] == pytest.approx(alone.raw[0], rel=1e-3)


def test_intervals_are_the_jackknife_of_the_ratio():
    G = draw(5, 0)
    found = measured(SPECTRUM, G, FIFTHS)
    left = np.array([measured(SPECTRUM, torch.cat([G[:b], G[b + 1 :]]), FIFTHS).raw for b in range(5)])
    error = np.sqrt(4 / 5 * np.square(left - left.mean(axis=0)).sum(axis=0))
    reach = scipy.stats.t.ppf(0.975, 4) * error
    np.testing.assert_allclose(found.low, found.raw - reach, rtol=1e-9)
    np.testing.assert_allclose(found.high, found.raw + reach, rtol=1e-9)


def test_intervals_of_two_sets_leave_batches_of_each_out():
    G, other = draw(6, 0), draw(4, 5, LEVEL.flip(0))
    found = measured(SPECTRUM, G, FIFTHS, noise_gradients=other)
    error = 0.0
    for size, without in (
        (6, lambda b: (G[torch.arange(6) != b], other)),
        (4, lambda b: (G, other[torch.arange(4) != b])),
    ):
        left = []
        for b in range(size):
            task, rest = without(b)
            left.append(measured(SPECTRUM, task, FIFTHS, noise_gradients=rest).raw)
        error = error + (size - 1) / size * np.square(left - np.mean(left, axis=0)).sum(axis=0)
    reach = scipy.stats.t.ppf(0.975, 3) * np.sqrt(error)
    np.testing.assert_allclose(found.high, found.raw + reach, rtol=1e-8)


def test_intervals_cover_about_as_often_as_they_say():
    truth = np.array([0.5, 0.2, 0, 0, 0])
    found = [measured(SPECTRUM, draw(12, seed), FIFTHS) for seed in range(40)]
    covered = np.mean([(np.array(one.low) <= truth) & (truth <= np.array(one.high)) for one in found], axis=0)
    # 95 %, less three standard errors of 40 trials.
    assert (covered > 0.84).all()
    # Unclipped estimates of no signal lie around it.
    assert abs(np.mean([one.raw[2:] for one in found])) < 0.02


def test_equal_eigenvalues_have_equal_gains_and_empty_bands_are_dropped():
    spectrum = eigenpairs(laplacian(nx.complete_graph(NODES), None))
    found = measured(spectrum, draw(5, 0))
    assert found.modes == (1, NODES - 1)
    assert found.edges == (pytest.approx(NODES / 2),)
    gains = found(spectrum.eigenvalues)
    assert len(set(gains[1:].tolist())) == 1


def test_one_eigenvalue_alone_is_one_band():
    found = measured(eigenpairs(laplacian(nx.empty_graph(NODES))), draw(5, 0))
    assert (found.edges, found.modes) == ((), (NODES,))


def test_ends_of_bands_never_cut_an_eigenspace_of_a_ring():
    spectrum = eigenpairs(laplacian(nx.cycle_graph(NODES)))
    found = measured(spectrum, draw(5, 0), FIFTHS)
    assert found.modes == (3, 4, 4, 4, 5)
    for edge in found.edges:
        assert (spectrum.eigenvalues - edge).abs().min() > 1e-3


def test_gains_do_not_depend_on_the_basis_of_an_eigenspace():
    spectrum = eigenpairs(laplacian(nx.cycle_graph(NODES)))
    turned = spectrum.eigenvectors.clone()
    turned[:, 1:3] = turned[:, 1:3] @ torch.tensor([[0.6, -0.8], [0.8, 0.6]], dtype=torch.float64)
    other = type(spectrum)(spectrum.eigenvalues, turned, spectrum.residuals, "dense", "turned", 1)
    G = draw(5, 0)
    np.testing.assert_allclose(measured(spectrum, G).raw, measured(other, G).raw, rtol=1e-10)


def test_strong_modes_of_an_adjacency_are_its_low_graph_frequencies():
    spectrum = eigenpairs(adjacency(nx.random_geometric_graph(NODES, 0.5, seed=3)))
    G = spectrum.eigenvectors @ (U.T @ draw(200, 0))
    found = measured(spectrum, G, FIFTHS)
    assert list(found.edges) == sorted(found.edges)
    assert found.gains[-1] == max(found.gains)
    assert found(spectrum.eigenvalues)[0].item() == found.gains[-1]
    assert found.covered == (spectrum.eigenvalues.min().item(), spectrum.eigenvalues.max().item())


def test_incomplete_spectrum_goes_on_beyond_what_it_covers():
    spectrum = eigenpairs(OPERATOR, k=10)
    found = measured(spectrum, draw(5, 0), FIFTHS)
    assert sum(found.modes) == 10
    assert found.covered[1] == spectrum.eigenvalues[-1].item()
    assert found(torch.tensor([100.0])).item() == pytest.approx(found.gains[-1])


def test_default_bands_are_the_low_ones():
    assert measured(SPECTRUM, draw(5, 0)) == measured(SPECTRUM, draw(5, 0), LOW_BANDS)


def test_several_tables_are_measured_each_for_itself():
    spectra = {"a": SPECTRUM, "b": eigenpairs(laplacian(nx.path_graph(NODES)))}
    G = {"a": draw(5, 0), "b": draw(5, 1)}
    found = measured(spectra, G, noise_gradients={"a": draw(4, 2), "b": draw(4, 3)})
    assert found == {
        name: measured(spectra[name], G[name], noise_gradients=draw(4, seed))
        for name, seed in (("a", 2), ("b", 3))
    }


def test_pooled_gains_are_those_of_pooled_bands_at_edges_of_each_table():
    spectra = {"a": SPECTRUM, "b": eigenpairs(laplacian(nx.path_graph(NODES)))}
    G = {"a": draw(5, 0), "b": 1000 * draw(5, 1)}
    found = measured(spectra, G, FIFTHS, pool=True)
    pooled = pool_bands([signal_to_noise(spectra[name], G[name], FIFTHS) for name in spectra])
    np.testing.assert_allclose(found["a"].raw, pooled.signal / (pooled.signal + pooled.noise), rtol=1e-10)
    assert found["a"].raw == found["b"].raw
    assert found["a"].edges != found["b"].edges


def test_pooling_fills_the_bands_that_a_degenerate_spectrum_leaves_empty():
    spectra = {"a": SPECTRUM, "b": eigenpairs(laplacian(nx.complete_graph(NODES)))}
    found = measured(spectra, {"a": draw(5, 0), "b": draw(5, 1)}, FIFTHS, pool=True)
    assert len(found["a"].gains) == 5
    assert len(found["b"].gains) < 5
    assert set(found["b"].gains) <= set(found["a"].gains)


def test_identical_batches_pass_whole():
    found = measured(SPECTRUM, draw(1, 0).expand(4, NODES, WIDTH), FIFTHS)
    np.testing.assert_allclose(found.gains, 1.0, rtol=1e-12)


def test_band_without_any_gradient_is_left_alone():
    path = eigenpairs(laplacian(nx.empty_graph(1)))
    two = type(path)(
        torch.tensor([0.0, 1.0]).double(), torch.eye(2).double(), torch.zeros(2).double(), "dense", "two", 1
    )
    G = torch.randn(5, 2, 3, generator=torch.Generator().manual_seed(0))
    G[:, 1] = 0
    found = measured(two, G, bands=(0, 0.5, 1))
    assert found.gains[1] == 1.0
    assert np.isnan(found.raw[1])


def test_opposing_estimates_without_a_positive_denominator_give_the_sign_of_the_signal():
    found = measured(SPECTRUM, draw(4, 0, 0 * LEVEL), FIFTHS, batches_averaged=1e6)
    assert all(gain in (0.0, 1.0) or raw == gain for gain, raw in zip(found.gains, found.raw, strict=True))
    assert 0.0 in found.gains


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_low_precision_gradients_are_measured_in_float64(dtype):
    G = draw(5, 0).to(dtype)
    before = G.clone()
    assert measured(SPECTRUM, G) == measured(SPECTRUM, G.double())
    assert torch.equal(G, before)


def test_measured_response_is_a_filter():
    G = draw(8, 0)
    found = measured(SPECTRUM, G, FIFTHS)
    expected = U @ (
        torch.tensor(found.gains, dtype=torch.float64).repeat_interleave(4)[:, None] * (U.T @ G[0])
    )
    torch.testing.assert_close(apply_filter(OPERATOR, G[0], found), expected, rtol=0, atol=1e-12)


def test_gradients_of_zeros_are_refused():
    with pytest.raises(ValueError, match="all gradients are zero"):
        measured(SPECTRUM, torch.zeros(3, NODES, 2))


def test_too_few_batches_and_entries_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="at least 3"):
        measured(SPECTRUM, draw(2, 0))
    G = draw(4, 0)
    G[0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="NaN"):
        measured(SPECTRUM, G)


def test_spectrum_of_no_nodes_is_refused():
    with pytest.raises(ValueError, match="no modes"):
        measured(eigenpairs(laplacian(nx.empty_graph(0))), torch.zeros(3, 0, 2))


@pytest.mark.parametrize(
    ("averaged", "error"), [(0.5, ValueError), (float("nan"), ValueError), ("9", TypeError)]
)
@pytest.mark.usefixtures("unchecked_types")
def test_number_of_averaged_batches_is_checked(averaged, error):
    with pytest.raises(error, match="batches_averaged"):
        measured(SPECTRUM, draw(4, 0), batches_averaged=averaged)


@pytest.mark.parametrize("gradients", [draw(4, 0), {"b": draw(4, 0)}, {}])
def test_mappings_must_have_the_same_keys(gradients):
    with pytest.raises(ValueError, match="keys of the spectra"):
        measured({"a": SPECTRUM}, gradients)


def test_pooling_needs_several_tables_of_the_same_batches_and_some_noise():
    with pytest.raises(ValueError, match="mapping of several"):
        measured(SPECTRUM, draw(4, 0), pool=True)
    with pytest.raises(ValueError, match="at least one table"):
        measured({}, {}, pool=True)
    two = {"a": SPECTRUM, "b": SPECTRUM}
    with pytest.raises(ValueError, match="same batches"):
        measured(two, {"a": draw(4, 0), "b": draw(5, 0)}, pool=True)
    with pytest.raises(ValueError, match="without any noise"):
        measured(two, {"a": draw(4, 0), "b": torch.ones(4, NODES, 2)}, pool=True)
