import pytest
import torch

from paramgraph import NumericalWarning
from paramgraph.graphs.affinity import unit_rows
from paramgraph.sources import AllColumns, FeatureBlocks, MeanFeatures, StreamingGram

KERNELS = {
    "gram": lambda X: X @ X.T,
    "cosine": lambda X: torch.nn.functional.normalize(X) @ torch.nn.functional.normalize(X).T,
    "euclidean": lambda X: torch.cdist(X, X, compute_mode="donot_use_mm_for_euclid_dist"),
    "correlation": torch.corrcoef,
}


def stream(X, size):
    gram = StreamingGram(X.shape[0])
    for piece in X.split(size, dim=1):
        gram.add(piece)
    return gram.features()


@pytest.mark.parametrize("kernel", sorted(KERNELS))
@pytest.mark.parametrize("mean", [0.0, 30.0], ids=["centred", "mean 30 x the spread"])
@pytest.mark.parametrize("rank", [3, 12], ids=["low rank", "full rank"])
def test_replacement_has_the_kernels_of_the_raw_features(kernel, mean, rank, generator):
    mixing = torch.randn(12, rank, generator=generator, dtype=torch.float64)
    X = mixing @ torch.randn(rank, 200, generator=generator, dtype=torch.float64) + mean
    F = stream(X, 64)
    assert F.shape[1] <= 13
    # Eigenvectors of the centred Gram are good to 1e-16 of its norm; the root in the distance doubles the digits
    # lost, and the mean is 30 x larger than the spread: 1e-7 leaves a factor of ten.
    torch.testing.assert_close(KERNELS[kernel](F), KERNELS[kernel](X), rtol=1e-7, atol=1e-6)


def test_a_quiet_node_beside_a_loud_one_keeps_its_correlations(generator):
    X = torch.randn(3, 500, generator=generator, dtype=torch.float64)
    X[2] += X[1]
    X *= torch.tensor([[1e6], [1e-4], [1e-4]])  # as the massive activations of language models
    # Without scaling, S is good to 1e-16 of 1e12, which is more than the quiet nodes' variance of 1e-8.
    torch.testing.assert_close(stream(X, 100).corrcoef(), X.corrcoef(), rtol=1e-9, atol=1e-9)


def test_few_columns_come_back_as_they_were(generator):
    X = torch.randn(6, 7, generator=generator)
    assert torch.equal(stream(X, 2), X)


def test_memory_does_not_grow_with_the_columns(generator):
    gram = StreamingGram(4)
    for _ in range(50):
        gram.add(torch.randn(4, 10, generator=generator))
    assert gram.columns == 500
    assert gram._pieces == []
    assert gram.features().shape == (4, 5)


def test_constant_features_keep_their_mean():
    # S = 0 exactly, so only the mean is left: one column.
    X = torch.tensor([[1.0], [2.0]]).expand(2, 9)
    F = stream(X, 9)
    torch.testing.assert_close(F @ F.T, X @ X.T)
    assert F.shape == (2, 1)


@pytest.mark.parametrize("seed", range(20))
def test_a_constant_row_stays_constant_beside_others(seed):
    generator = torch.Generator().manual_seed(seed)
    X = torch.randn(12, 120, generator=generator)
    X[:3] = torch.rand(3, 1, generator=generator)  # which 120 equal squares do not add up to exactly
    F = stream(X, 40)
    assert torch.equal(F[:3], F[:3, :1].expand(F[:3].shape))
    torch.testing.assert_close(F @ F.T, X @ X.T, rtol=1e-5, atol=1e-4)  # float32
    with pytest.warns(NumericalWarning, match="3 of 12 feature rows are constant"):
        unit_rows(F, centred=True)


def test_zero_features_stay_zero():
    assert torch.equal(stream(torch.zeros(2, 9), 3), torch.zeros(2, 1))


def test_one_node():
    F = stream(torch.arange(5.0)[None], 2)
    torch.testing.assert_close(F @ F.T, torch.tensor([[30.0]]))


def test_no_nodes():
    assert stream(torch.zeros(0, 5), 2).shape[0] == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_precision_of_the_pieces_is_kept(dtype):
    assert stream(torch.ones(2, 9, dtype=dtype), 4).dtype == dtype


def test_no_columns_is_an_error():
    with pytest.raises(ValueError, match="no feature columns"):
        StreamingGram(3).features()


def test_wrong_number_of_nodes_is_an_error():
    with pytest.raises(ValueError, match="expected features of 3 nodes"):
        StreamingGram(3).add(torch.ones(2, 4))


def test_pieces_are_not_changed(generator):
    X = torch.randn(3, 8, generator=generator)
    copy = X.clone()
    mean = MeanFeatures(3)
    for accumulator in (StreamingGram(3), AllColumns(3), mean):
        accumulator.add(X)
        accumulator.add(X)
        accumulator.features()
    assert torch.equal(X, copy)
    assert torch.equal(mean.features(), copy)


@pytest.mark.parametrize("widths", [(2, 3), (2, 30), (40, 30)], ids=str)
def test_sums_of_two_grams_join_to_that_of_all_columns(widths, generator):
    pieces = [torch.randn(6, width, generator=generator) for width in widths]
    joined = StreamingGram(6)
    for piece in pieces:
        one = StreamingGram(6)
        one.add(piece)
        joined.add_sums(*one.sums())
    X, F = torch.cat(pieces, dim=1), joined.features()
    # float32 features of sums in float64.
    torch.testing.assert_close(F @ F.T, X @ X.T, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(F.corrcoef(), X.corrcoef(), rtol=1e-4, atol=1e-5)
    assert joined.columns == sum(widths)


def test_columns_before_and_after_sums_count_too(generator):
    pieces = [torch.randn(4, 2, generator=generator, dtype=torch.float64) for _ in range(3)]
    other, joined = StreamingGram(4), StreamingGram(4)
    other.add(pieces[1])
    joined.add(pieces[0])
    joined.add_sums(*other.sums(), torch.float64)
    joined.add(pieces[2])
    X, F = torch.cat(pieces, dim=1), joined.features()
    assert F.dtype == torch.float64
    torch.testing.assert_close(F @ F.T, X @ X.T)


def test_sums_of_no_columns_are_refused():
    with pytest.raises(ValueError, match="no feature columns"):
        StreamingGram(3).sums()


def test_pieces_of_the_same_nodes_and_block_are_further_columns():
    blocks = FeatureBlocks(2)
    for value in (1.0, 2.0):
        blocks.add("", 0, torch.full((1, 2), value))
        blocks.add("", 1, torch.full((1, 2), -value))
    assert blocks.take().tolist() == [[1, 1, 2, 2], [-1, -1, -2, -2]]


def test_taking_begins_anew():
    blocks = FeatureBlocks(1)
    for value in (1.0, 2.0):
        blocks.add("", 0, torch.full((1, 1), value))
        assert blocks.take().tolist() == [[value]]


def test_nodes_of_one_block_must_see_as_many_tokens():
    blocks = FeatureBlocks(2)
    blocks.add("self", 0, torch.ones(1, 2))
    blocks.add("self", 1, torch.ones(1, 3))
    with pytest.raises(ValueError, match=r"different numbers of tokens \(\[2, 3\] features each in 'self'\)"):
        blocks.take()
