import numpy as np
import pytest

from paramgraph.comparison import list_batches, split_batches


@pytest.mark.parametrize("count", [6, 7, 20])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_batch_both_builds_and_measures_and_none_is_lost(count, seed):
    split = split_batches(count, {}, seed)
    assert sorted(split.build + split.measure) == list(range(count))
    assert len(split.build) - len(split.measure) in (0, 1)
    assert split.halves[0] + split.halves[1] == split.build
    assert len(split.halves[0]) - len(split.halves[1]) in (0, 1)


def test_seeds_draw_other_halves_and_the_same_seed_the_same():
    splits = [split_batches(20, {}, seed) for seed in (0, 0, 1)]
    assert splits[0].build == splits[1].build
    assert set(splits[0].build) != set(splits[2].build)


def test_global_random_state_is_left_alone():
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    split_batches(10, {}, 3)
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_batches_that_are_given_apart_stay_apart(seed):
    listed, given = list_batches({"build": ["a", "b", "c"], "measure": ["x", "y", "z", "w"]})
    split = split_batches(len(listed), given, seed)
    assert {listed[number] for number in split.build} == {"a", "b", "c"}
    assert [listed[number] for number in split.measure] == ["x", "y", "z", "w"]


def test_iterator_is_read_once():
    assert list_batches(iter(range(6))) == ([0, 1, 2, 3, 4, 5], {})
    assert list_batches(None) == ([], {})


@pytest.mark.parametrize(
    "batches", [[], range(5), {"build": [1], "measure": [1, 2, 3]}, {"build": [1, 2], "measure": [1, 2]}]
)
def test_too_few_batches_are_refused_with_what_to_do(batches):
    with pytest.raises(ValueError, match="give 6 or more"):
        list_batches(batches)


@pytest.mark.parametrize(
    "batches", [{"build": [1, 2]}, {"build": [], "measure": [], "test": []}, {"input_ids": 1}]
)
def test_mapping_of_other_keys_is_refused(batches):
    with pytest.raises(ValueError, match="'build' and 'measure'"):
        list_batches(batches)


@pytest.mark.parametrize("batches", ["text", 3])
@pytest.mark.usefixtures("unchecked_types")
def test_what_is_no_list_is_refused(batches):
    with pytest.raises(TypeError, match="list of batches"):
        list_batches(batches)
