"""No text is in two parts, and what the source ships as a part stays one."""

import pytest

from spectral_opt.errors import DataError
from spectral_opt.finetuning import split_parts

SHIPPED = ["train", "test", "validation", "train", "train", "test"]


def test_shipped_parts_stay_what_they_are():
    parts = split_parts(6, 0.5, 0, shipped=SHIPPED)
    assert (parts.train, parts.evaluation, parts.test) == ((0, 3, 4), (2,), (1, 5))
    assert (
        parts.description
        == "3 train, 2 shipped as test are scored once at the end, 1 shipped as validation evaluate"
    )


def test_a_share_is_set_apart_of_what_trains_alone():
    parts = split_parts(6, 0.4, 0, shipped=["train", "test"] * 3)
    assert parts.test == (1, 3, 5)
    assert len(parts.evaluation) == 1
    assert set(parts.train) | set(parts.evaluation) == {0, 2, 4}


def test_where_other_data_evaluate_nothing_is_set_apart_and_no_shipped_part_is_trained_on():
    parts = split_parts(6, 0.5, 0, shipped=SHIPPED, evaluates_elsewhere=True)
    assert (parts.train, parts.evaluation) == ((0, 3, 4), ())
    assert "1 shipped as validation are not used" in parts.description


def test_each_class_keeps_its_share_and_the_seed_alone_decides():
    labels = [0] * 30 + [1] * 10
    parts = split_parts(40, 0.2, 3, labels=labels)
    assert sorted(labels[at] for at in parts.evaluation) == [0] * 6 + [1] * 2
    assert parts == split_parts(40, 0.2, 3, labels=labels)
    assert parts != split_parts(40, 0.2, 4, labels=labels)


def test_every_class_evaluates_however_small_the_share():
    assert len(split_parts(40, 0.01, 0, labels=[0, 1, 2, 3] * 10).evaluation) == 4


def test_groups_are_kept_together():
    groups = [at // 4 for at in range(40)]
    parts = split_parts(40, 0.2, 0, groups=groups)
    assert not {groups[at] for at in parts.train} & {groups[at] for at in parts.evaluation}
    assert len(parts.evaluation) == 8


@pytest.mark.parametrize(
    ("examples", "more", "message"),
    [
        (1, {}, "1 text is there to train on, and none can be set apart"),
        (4, {"groups": [1, 1, 1, 1]}, "all 4 texts are of one group"),
        (2, {"shipped": ["test", "validation"]}, "no text is left to train on"),
        (3, {"labels": [0, 1, 2]}, "3 texts are too few to set 3 apart"),
        (5, {"labels": [0, 0, 0, 1, 2]}, "5 texts are too few to set 3 apart"),
        (10, {"labels": [0, 1] * 5, "share": 0.9}, "10 texts are too few to set 9 apart"),
        (4, {"groups": [1, 1, 2, 2], "share": 0.6}, "leaves none of the 2 groups to train on"),
    ],
)
def test_an_empty_part_is_named(examples, more, message):
    with pytest.raises(DataError, match=message):
        split_parts(examples, **({"share": 0.1, "seed": 0} | more))


@pytest.mark.parametrize(("names", "shown"), [(None, "1"), (("no", "yes"), "'yes'")])
def test_a_class_of_which_one_text_is_not_shipped_as_test_is_named(names, shown):
    more = {"shipped": ["train"] * 11 + ["test"], "labels": [0] * 10 + [1, 1], "label_names": names}
    with pytest.raises(DataError, match=rf"the label {shown} has one text .*\(evaluate_on\)"):
        split_parts(12, 0.1, 0, **more)
    assert split_parts(12, 0.1, 0, evaluates_elsewhere=True, **more).train == tuple(range(11))
