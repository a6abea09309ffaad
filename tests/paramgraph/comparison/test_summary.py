import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from paramgraph import (
    Comparison,
    band_lift,
    effective_batch_gain,
    eigenpairs,
    laplacian,
    pool_bands,
    signal_to_noise,
)
from paramgraph.comparison import POOLED, best_drawing, holm, summarize

RING = {"name": "ring", "builder": "Ring()", "source": "none", "null": True}
KNN = {"name": "knn of weights", "builder": "CosineKNN()", "source": "weights", "null": False}


def cell(layer="a", construction="ring", seed=0, draws=None, **more):
    return {
        "layer": layer,
        "construction": construction,
        "seed": seed,
        "circular": False,
        "compaction": 0.3,
        "evidence": {} if draws is None else {"draws": draws},
    } | more


def one_row(*cells):
    (row,) = summarize([RING], cells)
    return row


def test_holm_multiplies_each_p_value_by_the_number_that_is_left():
    assert holm([0.01]) == [0.01]
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([]) == []


@pytest.mark.parametrize("tests", [1, 2, 7])
def test_holm_is_never_below_the_p_value_nor_above_bonferroni_nor_one(tests):
    p = np.random.default_rng(tests).uniform(size=tests).tolist()
    for value, corrected in zip(p, holm(p), strict=True):
        assert value <= corrected <= min(1.0, tests * value) + 1e-12  # rounding


def test_holm_keeps_the_order_of_p_values():
    p = np.random.default_rng(0).uniform(size=20)
    assert (np.diff(np.array(holm(p.tolist()))[np.argsort(p)]) >= 0).all()


def test_p_value_is_that_of_the_sum_over_layers():
    # Neither layer stands out of its own draws as far as both do together.
    row = one_row(
        cell("a", compaction=0.3, draws=[0.4, 0.1, 0.1]), cell("b", compaction=0.3, draws=[0.1, 0.4, 0.1])
    )
    assert row["p_value"] == 0.25


def test_p_value_counts_draws_that_are_as_large():
    assert one_row(cell(compaction=0.3, draws=[0.3, 0.3, 0.1]))["p_value"] == 0.75


def test_of_several_seeds_the_largest_p_value_counts():
    row = one_row(cell(seed=0, draws=[0.1, 0.1, 0.1]), cell(seed=1, draws=[0.5, 0.5, 0.1]))
    assert row["p_value"] == 0.75


def test_layer_without_energy_takes_no_part_in_the_p_value():
    row = one_row(cell("a", draws=[0.1] * 3), cell("b", compaction=None, draws=[None] * 3))
    assert row["p_value"] == 0.25
    assert row["compaction"] == pytest.approx(0.3)


def test_circular_construction_has_no_p_value_and_is_no_test():
    cells = [cell(draws=[0.1] * 39), cell(construction=KNN["name"], draws=[0.1] * 39, circular=True)]
    rows = {row["construction"]: row for row in summarize([RING, KNN], cells)}
    assert rows["knn of weights"]["p_value"] is None
    assert rows["knn of weights"]["p_holm"] is None
    assert rows["ring"]["p_holm"] == rows["ring"]["p_value"] == 1 / 40


def test_constructions_that_were_tested_are_corrected_together():
    cells = [cell(draws=[0.1] * 39), cell(construction=KNN["name"], draws=[0.1] * 39)]
    assert [row["p_holm"] for row in summarize([RING, KNN], cells)] == [0.05, 0.05]


def test_z_score_is_that_of_a_sum_of_independent_layers():
    layers = [
        cell(name, compaction_permuted=0.2, compaction_permuted_sd=0.05, z_score=2.0) for name in "abcd"
    ]
    assert one_row(*layers)["z_score"] == pytest.approx(4 * 0.1 / math.sqrt(4 * 0.05**2))


def test_shares_are_means_over_cells_and_counts_sums_over_layers():
    cells = [
        cell(layer, seed=seed, nodes=10, edges=30, compaction=0.1 * (1 + seed), energy=[0.75, 0.25])
        for layer in "ab"
        for seed in (0, 1)
    ]
    row = one_row(*cells)
    assert (row["layers"], row["nodes"], row["edges"]) == (2, 20.0, 60.0)
    assert row["compaction"] == pytest.approx(0.15)
    assert row["energy"] == [0.75, 0.25]


def test_deviation_of_the_null_shrinks_with_layers_and_not_with_seeds():
    cells = [
        cell(layer, seed=seed, energy=[1.0], null_energy=[0.5], null_energy_sd=[0.1])
        for layer in "abcd"
        for seed in (0, 1)
    ]
    assert one_row(*cells)["null_energy_sd"] == pytest.approx([0.05])


def test_construction_of_which_nothing_was_measured_has_no_row():
    assert [row["construction"] for row in summarize([RING, KNN], [cell()])] == ["ring"]


def test_lift_and_gain_are_those_of_pooled_bands(graphs, generator):
    gradients = 0.3 + torch.randn(2, 6, 12, 4, generator=generator, dtype=torch.float64)
    both = [signal_to_noise(eigenpairs(laplacian(graphs["grid"])), one) for one in gradients]
    cells = [
        cell(layer, evidence={"statistics": {name: getattr(one, name) for name in POOLED}})
        for layer, one in zip("ab", both, strict=True)
    ]
    row, pooled = one_row(*cells), pool_bands(both)
    assert row["snr"] == pytest.approx(pooled.snr.tolist(), rel=1e-5)  # six digits
    assert row["lift_low"] == pytest.approx(band_lift(pooled).lift[0], rel=1e-5)
    assert row["lift_low_high"] == pytest.approx(band_lift(pooled).high[0], rel=1e-5)
    assert row["gain"] == pytest.approx(effective_batch_gain(pooled).gain, rel=1e-5)
    assert row["lift_low_permuted"] is None


def test_drawing_is_that_of_the_most_compact_construction_that_is_no_null():
    rows = [
        {"construction": "ring", "null": True, "compaction": 0.9},
        {"construction": "a", "null": False, "compaction": 0.2},
        {"construction": "b", "null": False, "compaction": 0.4},
    ]
    drawings = [{"construction": name} for name in ("ring", "a", "b")]
    assert best_drawing(drawings, rows) == {"construction": "b"}
    assert best_drawing(drawings[:2], rows) == {"construction": "a"}
    assert best_drawing(drawings[:1], rows[:1]) == {"construction": "ring"}
    assert best_drawing([], rows) is None


SETTING = {
    "signal": "gradients",
    "share": 0.2,
    "permutations": 399,
    "nulls": ["permuted", "rotated", "random"],
}


def verdict(setting, rows, constructions=()):
    return Comparison(setting, constructions, summary_rows=tuple(rows)).verdict


def row(name="knn of gradients", **more):
    return {
        "construction": name,
        "null": False,
        "circular": False,
        "layers": 6,
        "compaction": 0.6,
        "compaction_permuted": 0.2,
        "compaction_rotated": 0.2,
        "compaction_random": 0.21,
        "compaction_share": 0.2,
        "p_value": 0.005,
        "p_holm": 0.01,
        "lift_low": 1.5,
        "lift_low_low": 1.2,
        "lift_low_high": 1.8,
        "lift_low_permuted": 1.01,
    } | more


UNTESTED = {"p_value": None, "p_holm": None}


def test_most_compact_construction_that_differs_from_chance_is_named_with_its_null():
    assert verdict(SETTING, [row(), row("ring", null=True, compaction=0.2)]) == (
        "knn of gradients carries the gradients: 60 % of their energy lies in the lowest 20 % of its modes, where "
        "permuted nodes give 20 % (p = 0.01 of 2 tests by Holm), at 1.50 times the signal-to-noise ratio of the whole "
        "spectrum (95 %: 1.20 to 1.80; permuted 1.01)."
    )


def test_others_that_carry_it_too_are_counted_and_not_said_to_be_worse():
    said = verdict(SETTING, [row(), row("other", compaction=0.6), row("third", p_holm=1.0)])
    assert (
        "; 1 more of 3 constructions does, and which is best was not tested; 1 of 3 constructions gathers"
        in said
    )


@pytest.mark.parametrize(("p_value", "least"), [(0.0025, True), (0.005, False)])
def test_a_p_value_that_could_be_no_smaller_is_said_to_be_so(p_value, least):
    said = verdict(SETTING, [row(p_value=p_value, p_holm=p_value)])
    assert (f"(p = {p_value:g}, the least that 399 permutations can give)" in said) == least
    assert "tests" not in said


@pytest.mark.parametrize(
    "chance",
    [{"p_holm": 0.051}, {"compaction": 0.25, "compaction_permuted": 0.2}, {"compaction": 0.1, "p_holm": 1.0}],
)
def test_what_is_chance_or_hardly_more_carries_nothing(chance):
    assert verdict(SETTING, [row(**chance)]).startswith(
        "None of 1 constructions carries the gradients: the best,"
    )


def test_the_others_are_counted_as_no_more_than_chance():
    said = verdict(SETTING, [row(), row("other", p_holm=1.0), row("ring", null=True, compaction=0.2)])
    assert said.endswith("; 1 of 2 constructions gathers no more than chance, or hardly more.")


@pytest.mark.parametrize("kind", ["null", "circular"])
def test_null_models_and_graphs_of_the_signal_itself_never_win(kind):
    better = row("better", compaction=0.99, **{kind: True})
    assert verdict(SETTING, [better, row()]).startswith("knn of gradients carries")
    assert "Nothing was compared but" in verdict(SETTING, [better])


@pytest.mark.parametrize("p_holm", [0.01, 1.0, None])
def test_a_null_model_that_gathers_more_is_named(p_holm):
    rows = [row(p_holm=p_holm), row("ring", null=True, compaction=0.9), row("complete", null=True)]
    assert "the null model ring gathers 90 %" in verdict(SETTING, rows)
    assert "null model" not in verdict(SETTING, [row(p_holm=p_holm), row("ring", null=True, compaction=0.5)])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("compaction_random", "; but a random graph of the same degrees 58 % as well"),
        ("compaction_rotated", "; but a random basis of the same eigenvalues 58 % as well"),
    ],
)
def test_another_null_of_the_same_graph_that_gathers_as_much_is_named(name, words):
    assert words in verdict(SETTING, [row(**{name: 0.58})])
    assert " as well" not in verdict(SETTING, [row(**{name: None})])


def test_both_kinds_that_cannot_win_are_named_where_there_is_nothing_else():
    said = verdict(SETTING, [row("own", circular=True), row("ring", null=True)])
    assert "but graphs that were built from the signal itself and null models: none can" in said


@pytest.mark.parametrize(
    ("setting", "permuted", "why"),
    [
        ({"permutations": 0}, 0.2, "permuted nodes 20 %; no permutations were asked for"),
        ({"nulls": ["rotated"]}, None, "of its modes; the permuted null was not asked for"),
        ({}, 0.2, "permuted nodes 20 %; there is no p-value"),
    ],
)
def test_why_nothing_is_said_of_chance_is_what_was_asked_for(setting, permuted, why):
    said = verdict(SETTING | setting, [row(compaction_permuted=permuted, **UNTESTED)])
    assert said.endswith(f"{why}, so whether that is chance was not tested.")
    assert "carries" not in said


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


def test_permutations_are_not_blamed_where_no_number_of_them_would_do():
    rows = [row(f"knn {n}", p_value=0.9, p_holm=1.0, compaction=0.2) for n in range(5)]
    assert verdict(SETTING | {"permutations": 19}, rows).startswith("None of 5 constructions carries")


def test_share_is_that_of_the_modes_that_were_computed():
    # 64 modes of 8,192 nodes.
    assert "in the lowest 0.8 % of its modes" in verdict(SETTING, [row(compaction_share=64 / 8192)])
    assert "in the lowest 20 % of its modes" in verdict(SETTING, [row(compaction_share=5 / 24)])


@pytest.mark.parametrize(
    ("lift", "words"),
    [
        ((0.9, -3.3, 5.1, 1.01), "these batches cannot tell: lift 0.90 (95 %: -3.30 to 5.10; permuted 1.01)"),
        ((1.5, 1.2, 1.8, 1.4), "these batches cannot tell: lift 1.50"),
        (
            (0.8, 0.7, 0.9, 1.0),
            ", but at 0.80 times the signal-to-noise ratio of the whole spectrum, which is less",
        ),
        ((-1.0, -2.0, -0.5, 1.0), ", but at -1.00 times the signal-to-noise ratio"),
    ],
)
def test_lift_is_worded_as_its_interval_allows(lift, words):
    names = ("lift_low", "lift_low_low", "lift_low_high", "lift_low_permuted")
    assert words in verdict(SETTING, [row(**dict(zip(names, lift, strict=True)))])


def test_a_signal_of_zeros_is_said_to_be_zero():
    rows = [row(compaction=None, compaction_permuted=None, **UNTESTED)]
    assert verdict(SETTING, rows) == (
        "No graph can carry the gradients: they are zero in every layer that was measured."
    )
    assert verdict(SETTING | {"signal": "updates"}, rows).endswith(": nothing was changed there.")


def test_a_mean_over_fewer_layers_is_said_to_be_one():
    rows = [row(layers=2), row("other", compaction=0.5)]
    assert "in the 2 of 6 layers where it could be measured" in verdict(SETTING, rows)


@pytest.mark.parametrize(
    ("zero", "words"), [(1, "1 layer, which is left out."), (11, "11 layers, which are left out.")]
)
def test_layers_without_a_signal_are_counted_in_one_line(zero, words):
    assert verdict(SETTING | {"zero_layers": zero}, [row()]).endswith(f" The gradients are zero in {words}")
    assert "zero" not in verdict(SETTING | {"zero_layers": 0}, [row()])


def test_what_failed_everywhere_is_named_beside_the_verdict():
    constructions = ({"name": "knn of gradients"}, {"name": "mine"})
    assert verdict(SETTING, [row()], constructions).endswith(" Not measured: mine.")
    assert (
        verdict(SETTING, [], constructions) == "Nothing was measured. Not measured: knn of gradients, mine."
    )


SHARES = st.one_of(st.none(), st.floats(0, 1))


@st.composite
def summaries(draw):
    """Rows of any shares and p-values, as a summary can have them; their names are letters in brackets."""
    rows = []
    for letter in "abcd"[: draw(st.integers(1, 4))]:
        compaction, p_value = draw(SHARES), draw(st.one_of(st.none(), st.floats(0.0025, 1)))
        circular = draw(st.booleans())
        permuted = draw(SHARES) if compaction is not None else None
        tested = compaction is not None and permuted is not None and not circular
        rows.append(
            row(
                f"[{letter}]",
                null=draw(st.booleans()),
                circular=circular,
                compaction=compaction,
                compaction_permuted=permuted,
                compaction_random=draw(SHARES),
                p_value=p_value if tested else None,
                lift_low_low=draw(st.floats(-2, 2)),
                lift_low_high=draw(st.floats(2, 4)),
                layers=draw(st.integers(1, 3)),
            )
        )
    return rows


@settings(max_examples=300, deadline=None)
@given(summaries(), st.sampled_from([0, 19, 399]))
def test_a_verdict_never_contradicts_its_table(rows, permutations):
    tested = [one for one in rows if one["p_value"] is not None]
    corrected = dict(
        zip((one["construction"] for one in tested), holm([one["p_value"] for one in tested]), strict=True)
    )
    rows = [one | {"p_holm": corrected.get(one["construction"])} for one in rows]
    said = verdict(SETTING | {"permutations": permutations}, rows)
    known = {one["construction"]: one for one in rows}
    assert not re.search(r"\b(None|nan|inf)\b(?! of)", said)
    # Every share that is said stands in the table.
    names = ("compaction", "compaction_permuted", "compaction_random", "compaction_rotated")
    shares = {f"{100 * one[name]:.0f}" for one in rows for name in names if one[name] is not None}
    assert set(re.findall(r"(\d+) %(?! of its modes|:)", said)) <= shares
    winner = re.match(r"(\[.\]) carries", said)
    able = [one for one in rows if not one["null"] and not one["circular"] and one["compaction"] is not None]
    carrying = [
        one
        for one in able
        if one["p_holm"] is not None
        and one["p_holm"] <= 0.05
        and one["compaction"] - one["compaction_permuted"] > 0.05
    ]
    assert (winner is not None) == bool(carrying)
    if winner:
        assert known[winner[1]]["compaction"] == max(one["compaction"] for one in carrying)
    named = re.search(r"(?:the best|constructions), (\[.\])", said)
    if named:
        assert known[named[1]] in able
    for name in re.findall(r"null model (\[.\])", said):
        assert known[name]["null"]
