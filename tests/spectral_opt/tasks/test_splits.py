"""Splits: nothing in two parts, balanced where it should be, the same under the same seed."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from spectral_opt.errors import DataError
from spectral_opt.tasks import LabelledText, Provenance, few_shot_split, rest_of_split, with_test_part


def make(labels, groups=None, shipped=None, texts=None):
    labels = np.asarray(labels)
    texts = tuple(f"text {i}" for i in range(len(labels))) if texts is None else tuple(texts)
    names = tuple(str(label) for label in range(labels.max() + 1))
    return LabelledText("toy", texts, labels, names, Provenance("toy"), groups, shipped)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(2, 3))
def test_no_row_text_or_group_is_in_two_parts(seed, size, classes):
    labels = np.arange(180) % classes
    texts = [f"text {i % 170}" for i in range(180)]  # ten texts occur twice, in other groups
    groups = tuple(f"group {i // 6}" for i in range(180))
    data = make(labels, groups, texts=texts)
    split = few_shot_split(data, 4, 2, 30, seed=seed)
    for values in (range(180), texts, groups):
        parts = [{values[i] for i in part} for part in (split.train, split.dev, split.test)]
        assert len(parts[0] | parts[1] | parts[2]) == sum(map(len, parts))
    assert np.bincount(labels[split.train]).tolist() == [4] * classes
    assert np.bincount(labels[split.dev]).tolist() == [2] * classes
    assert len(np.unique(split.test)) == 30


def test_the_test_part_has_the_natural_proportion(toy):
    split = few_shot_split(toy, 4, 2, 30)
    # A third of the texts are positive; films of four texts shift the pool by a little.
    assert toy.labels[split.test].mean() == pytest.approx(1 / 3, abs=0.07)


def test_the_same_seed_gives_the_same_split_and_another_another(toy):
    splits = [few_shot_split(toy, 4, 2, 30, seed=seed) for seed in (0, 0, 1)]
    for part in ("train", "dev", "test"):
        assert np.array_equal(getattr(splits[0], part), getattr(splits[1], part))
        assert not np.array_equal(getattr(splits[0], part), getattr(splits[2], part))


def test_training_texts_come_from_many_groups(toy):
    split = few_shot_split(toy, 6, 2, 30)
    assert len({toy.groups[i] for i in split.train}) >= 4


def test_no_development_texts_can_be_asked_for(toy):
    assert len(few_shot_split(toy, 4, 0, 30).dev) == 0


def test_a_split_cannot_be_edited_and_says_how_it_was_drawn(toy):
    split = few_shot_split(toy, 4, 2, 30)
    assert split.description == "4 a class, split by group, seed 0"
    with pytest.raises(ValueError, match="read-only"):
        split.train[0] = 0


@pytest.mark.parametrize(
    "shipped", [("train", "test"), ("train", "validation"), ("train", "validation", "test")]
)
def test_shipped_parts_are_kept(shipped):
    labels = np.arange(120) % 2
    parts = tuple(shipped[i // 2 % len(shipped)] for i in range(120))
    split = few_shot_split(make(labels, shipped=parts), 5, 3, 20)
    assert {parts[i] for i in split.train} == {"train"}
    assert {parts[i] for i in split.test} == {shipped[-1]}
    assert {parts[i] for i in split.dev} == {"validation" if len(shipped) == 3 else "train"}
    assert "test texts of the test part" in split.description


def test_a_group_across_shipped_parts_is_used_in_neither():
    parts = tuple("train" if i < 60 else "test" for i in range(120))
    groups = tuple("both" if i in (0, 119) else str(i) for i in range(120))
    split = few_shot_split(make(np.arange(120) % 2, groups, parts), 5, 3, 20)
    assert not {0, 119} & {*split.train, *split.dev, *split.test}


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((200, 2, 10), r"of 200 texts of class 'yes' \(classes: \{'no': 80, 'yes': 40\}\); ask for fewer"),
        ((20, 30, 10), "texts of class 'yes'"),
        ((2, 2, 119), "too few texts"),
    ],
)
def test_too_few_texts_are_named_with_their_counts(toy, sizes, message):
    with pytest.raises(DataError, match=message) as raised:
        few_shot_split(toy, *sizes)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("sizes", [(0, 2, 10), (2, -1, 10), (2, 2, 0)])
def test_sizes_that_mean_nothing_are_refused(toy, sizes):
    with pytest.raises(ValueError, match="must be at least 1"):
        few_shot_split(toy, *sizes)


def test_a_class_that_only_the_shipped_test_part_has_is_named():
    labels = [0, 1] * 10 + [0, 1, 2, 2]
    data = make(labels, shipped=("train",) * 20 + ("test",) * 4)
    with pytest.raises(DataError, match="0 of 2 texts of class '2', all of which the source puts in 'test'"):
        few_shot_split(data, 2, 1, 4)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_a_test_part_is_the_same_under_every_seed_and_a_third_of_whole_groups(seed, grouped):
    groups = tuple(f"group {i // 6}" for i in range(180)) if grouped else None
    data = with_test_part(make(np.arange(180) % 2, groups))
    test = np.flatnonzero(np.array(data.shipped_split) == "test")
    assert 60 <= len(test) < 66
    split = few_shot_split(data, 4, 2, 30, seed=seed)
    assert set(split.test) <= set(test)
    assert not set(test) & {*split.train, *split.dev, *rest_of_split(data, split)}
    if groups:
        assert not {groups[i] for i in test} & {groups[i] for i in range(180) if i not in test}


def test_a_test_part_that_is_shipped_stays():
    data = make(np.arange(20) % 2, shipped=("train",) * 15 + ("test",) * 5)
    assert with_test_part(data) is data


def test_what_a_split_leaves_shares_neither_group_nor_text_with_it():
    groups = tuple(f"group {i // 4}" for i in range(80))
    texts = [f"text {i % 78}" for i in range(80)]  # the last two stand in the first group, too
    data = make(np.arange(80) % 2, groups, texts=texts)
    split = few_shot_split(data, 4, 2, 10)
    used = np.concatenate([split.train, split.dev, split.test])
    rest = rest_of_split(data, split)
    assert len(rest)
    for values in (texts, groups):
        assert not {values[i] for i in rest} & {values[i] for i in used}
    met = {groups[i] for i in used} | {groups[i] for i in range(80) if texts[i] in {texts[j] for j in used}}
    assert {groups[i] for i in rest} | met | {"group 0", "group 19"} == set(groups)


def test_what_is_left_beside_train_may_be_of_its_groups_and_of_no_other_part():
    groups = tuple(f"group {i // 10}" for i in range(60))
    data = make(np.arange(60) % 2, groups)
    split = few_shot_split(data, 2, 2, 10)
    rest = rest_of_split(data, split, beside_train=True)
    assert {groups[i] for i in rest} & {groups[i] for i in split.train}
    assert not {groups[i] for i in rest} & {groups[i] for i in (*split.dev, *split.test)}
    assert not {*rest} & {*split.train}
