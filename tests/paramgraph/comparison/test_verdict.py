import pytest

from paramgraph.comparison._verdict import verdict

SETTING = {"signal": "gradients", "share": 0.2, "permutations": 399}


def row(name="knn of gradients", **more):
    return {
        "construction": name,
        "null": False,
        "circular": False,
        "compaction": 0.6,
        "compaction_permuted": 0.2,
        "compaction_share": 0.2,
        "p_value": 0.0025,
        "p_holm": 0.0025,
        "lift_low": 1.5,
        "lift_low_low": 1.2,
        "lift_low_high": 1.8,
        "lift_low_permuted": 1.01,
    } | more


def test_most_compact_construction_that_differs_from_chance_is_named_with_its_null():
    said = verdict(SETTING, [row(), row("other", compaction=0.5)])
    assert said == (
        "knn of gradients carries the gradients: 60 % of their energy lies in the lowest 20 % of its modes, where "
        "permuted nodes give 20 %, at 1.50 times the signal-to-noise ratio of the whole spectrum (95 %: 1.20 to 1.80; "
        "permuted 1.01)."
    )


@pytest.mark.parametrize(
    "chance",
    [{"p_holm": 0.051}, {"compaction": 0.25, "compaction_permuted": 0.2}, {"compaction": 0.1, "p_holm": 1.0}],
)
def test_what_is_chance_or_hardly_more_carries_nothing(chance):
    assert verdict(SETTING, [row(**chance)]).startswith(
        "None of 1 constructions carries the gradients: the best,"
    )


def test_the_others_are_counted_as_no_more_than_chance():
    said = verdict(SETTING, [row(), row("other", p_holm=1.0), row("ring", null=True)])
    assert said.endswith("; 1 of 2 constructions gather no more than chance, or hardly more.")


@pytest.mark.parametrize("kind", ["null", "circular"])
def test_null_models_and_graphs_of_the_signal_itself_never_win(kind):
    better = row("better", compaction=0.99, **{kind: True})
    assert verdict(SETTING, [better, row()]).startswith("knn of gradients carries")
    assert "Nothing was compared but" in verdict(SETTING, [better])


def test_without_the_permuted_null_nothing_is_said_of_chance():
    said = verdict(SETTING, [row(p_value=None, p_holm=None, compaction_permuted=None)])
    assert said.endswith("without the permuted null nothing can be said of chance.")


@pytest.mark.parametrize("name", ["lift_low", "lift_low_low", "lift_low_high", "lift_low_permuted"])
def test_lift_is_left_out_where_a_part_of_it_is_not_known(name):
    said = verdict(SETTING, [row(**{name: None})])
    assert "signal-to-noise" not in said
    assert "None" not in said


def test_too_few_permutations_for_so_many_constructions_are_said_to_be_too_few():
    # 1 / 20 at best for one test, times five.
    rows = [row(f"knn {n}", p_value=0.05, p_holm=0.25) for n in range(5)]
    said = verdict(SETTING | {"permutations": 19}, rows)
    assert "carries" not in said
    assert said.endswith("19 permutations are too few to tell it from chance: 5 tests need at least 99.")


def test_share_is_that_of_the_modes_that_were_computed():
    # 64 modes of 8,192 nodes.
    assert "in the lowest 0.8 % of its modes" in verdict(SETTING, [row(compaction_share=64 / 8192)])
    assert "in the lowest 20 % of its modes" in verdict(SETTING, [row(compaction_share=5 / 24)])


def test_an_interval_that_holds_one_says_nothing_of_signal_and_noise():
    said = verdict(SETTING, [row(lift_low=0.9, lift_low_low=-3.3, lift_low_high=5.1)])
    assert said.endswith(
        "; whether it is more signal than noise these batches cannot tell: lift 0.90 (95 %: -3.30 to 5.10; "
        "permuted 1.01)."
    )
