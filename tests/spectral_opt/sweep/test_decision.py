"""What is written follows from dev, and sentences, tables and JSON say the same, on invented fronts."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from spectral_opt.config import SpectralConfig
from spectral_opt.sweep import (
    METRICS,
    Forgotten,
    RefinementOptions,
    Sweep,
    SweepPoint,
    TaskResult,
    decide,
    next_strength,
    pick,
    refinement_page,
    refinement_results,
    refinement_sentences,
    refinement_tables,
)

TEXTS = 40
ACCURACY = METRICS["accuracy"]


def answers(right, seed=0):
    """Two classes in turn; which texts are right is drawn, nested in their number."""
    labels = np.arange(TEXTS) % 2
    found = np.random.default_rng(seed).permutation(TEXTS) < round(right * TEXTS)
    return TaskResult(1.0 - found, None, np.eye(2)[np.where(found, labels, 1 - labels)], labels)


def point(family, strength, forgotten, dev, test=None):
    lost = np.linspace(0.9, 1.1, 20) * forgotten
    test = dev if test is None else test
    return SweepPoint(family, strength, 0.5, Forgotten(lost, lost), answers(dev), answers(test, 1), 0.1)


BASE, TUNED = point("base", 0.0, 0.0, 0.5), point("tuned", 1.0, 0.4, 0.8)


def decided(*points, **more):
    options = {"has_forgotten": True, "asked": None, "default": 1.0} | more
    return decide([BASE, TUNED, *points], ACCURACY, 0, **options)


def test_the_filter_that_forgets_least_among_the_good_ones_is_written():
    found = decided(
        point("filter", 0.1, 0.2, 0.8), point("filter", 1.0, 0.1, 0.8), point("filter", 3.0, 0.05, 0.5)
    )
    assert (found.family, found.strength, found.reason) == ("filter", 1.0, "filter")
    assert found.filter_dev == pytest.approx(0.8)
    assert found.scaling_dev == pytest.approx(0.5 + 0.3 / 4)  # between base and fine-tune


def test_scaling_is_written_where_it_is_better_and_forgets_as_much():
    found = decided(point("filter", 0.1, 0.2, 0.8), point("scaling", 0.5, 0.2, 0.9))
    assert (found.family, found.strength, found.reason) == ("scaling", 0.5, "scaling")


def test_the_filter_is_written_and_scaling_said_to_be_better_where_no_factor_passes():
    # The filter has other texts right, so that its difference is uncertain; the factor's are among the fine-tune's.
    unlike = replace(point("filter", 0.1, 0.38, 0.75), dev=answers(0.75, seed=3))
    found = decided(unlike, point("scaling", 0.5, 0.2, 0.7))
    assert (found.family, found.strength, found.reason) == ("filter", 0.1, "no factor passes")
    assert found.scaling_dev > found.filter_dev


def test_without_a_good_filter_scaling_and_without_both_the_fine_tune_is_written():
    bad = point("filter", 0.1, 0.2, 0.4)
    assert decided(bad, point("scaling", 0.5, 0.2, 0.8)).reason == "no filter passes"
    found = decided(bad, point("scaling", 0.5, 0.2, 0.4))
    assert (found.family, found.reason) == ("tuned", "no state passes")
    # As good, and forgot more.
    assert decided(point("filter", 0.1, 0.5, 0.9)).family == "tuned"


def test_what_was_asked_for_is_written_whatever_dev_says():
    bad = point("filter", 0.1, 0.2, 0.4)
    assert decided(bad, asked=0.1).reason == "asked for"
    assert decided(bad, asked=0.0).reason == "kept already"
    assert decided(bad, has_forgotten=False).reason == "nothing forgotten"


SHARES = st.floats(0.3, 0.9)
STATES = st.lists(st.tuples(st.floats(0.02, 0.45), SHARES, SHARES), min_size=1, max_size=3)


def swept(filters, factors, nulls, metric):
    points = [BASE, TUNED]
    for family, states, strengths in (
        ("filter", filters, (0.1, 1.0, 3.0)),
        ("scaling", factors, (0.2, 0.5, 0.8)),
        ("permuted", nulls, (1.0, 10.0, 100.0)),
    ):
        points += [point(family, strength, *one) for strength, one in zip(strengths, states, strict=False)]
    options = RefinementOptions("base", "tuned", "text", metric=metric.name)
    part = SimpleNamespace(texts=[""] * TEXTS)
    texts = SimpleNamespace(
        task=SimpleNamespace(dev=part, test=part, origin="task"),
        build=[],
        held_out=[""] * 20,
        split="split",
        origin="text",
    )
    picks = {family: pick(points, family, metric, 0) or TUNED for family in ("filter", "scaling")}
    return SimpleNamespace(
        points=points,
        picked=picks,
        decision=decide(points, metric, 0, has_forgotten=True, asked=None, default=1.0),
        metric=metric,
        has_forgotten=True,
        only=lambda family: next(one for one in points if one.family == family),
        saved=SimpleNamespace(form="weights", norm_kept=0.5, remarks=()),
        remarks=[],
        skipped={},
        seconds={},
        setting=SimpleNamespace(
            options=options,
            measures=SimpleNamespace(metric=metric, majority=dict),
            texts=texts,
            kind="classifier",
            config=SpectralConfig.preserve(1.0),
            remarks=(),
        ),
    )


@pytest.mark.usefixtures("unchecked_types")
@settings(max_examples=15, deadline=None)
@given(STATES, STATES, STATES, st.sampled_from(["accuracy", "auc", "loss"]))
def test_text_tables_and_json_agree_with_the_decision(filters, factors, nulls, name):
    sweep = swept(filters, factors, nulls, METRICS[name])
    results = json.loads(json.dumps(refinement_results(sweep, "refine"), allow_nan=False))
    said, written = refinement_sentences(results), results["written"]
    (about,) = (one for one in said if one.startswith("Written: "))
    assert ("the fine-tune unchanged" in about) == written["is_tuned"] == (written["family"] == "tuned")
    assert (f"scaling by {written['strength']:g} " in about) == (written["family"] == "scaling")
    assert (f"a model, strength {written['strength']:g} " in about) == (written["family"] == "filter")
    if written["scaling_dev"] is not None:
        better = METRICS[name].sign * (written["scaling_dev"] - written["filter_dev"]) > 1e-9
        assert written["family"] == "filter" or better
        assert (written["reason"] == "filter") == (not better)
        assert ("is not better on dev" in about) == (not better)
    if not written["is_tuned"]:
        chosen = next(
            one
            for one in results["points"]
            if (one["family"], one["strength"]) == (written["family"], written["strength"])
        )
        assert chosen["forgotten"] < results["points"][1]["forgotten"]
        mark = [row for row in refinement_tables(results)[0].rows if row[0].endswith(" *")]
        assert f"{written['strength']:g}" in [row[1] for row in mark]
    mean = results["equal_forgetting"]["mean"]
    if mean is not None:
        shown = mean["p_holm"] <= 0.05
        assert ("cannot be told" in said[0]) == (not shown or mean["gain"] == 0)
        assert mean["p_holm"] >= mean["p_value"]
    for row in results["equal_score"]:
        assert (row["scaling"] is None) == (row["ratio"] is None and row["less"] is None)


@pytest.mark.usefixtures("unchecked_types")
def test_the_page_begins_with_the_answer_and_its_points_say_their_numbers():
    states = [(0.1, 0.8, 0.8), (0.05, 0.8, 0.7)]
    results = refinement_results(swept(states, states, states, ACCURACY), "refine")
    page = refinement_page(results)
    assert page.index("At equal forgetting, against scaling on 40 test texts") < page.index("<svg")
    assert page.index("<svg") < page.index("Written: a model")
    assert "<title>product filter, strength 0.1: forgotten 0.1000, neighbours lost 0.100" in page
    assert "nulls" not in page or "null: permuted, strength 1:" in page


class Invented(Sweep):
    """A sweep that measures nothing: what each family forgets and does at a strength is a formula."""

    def _measure(self, family, strength):
        forgotten, dev = {
            "base": lambda: (0.0, 0.5),
            "tuned": lambda: (0.4, 0.8),
            "scaling": lambda: (0.4 * strength**2, 0.5 + 0.3 * strength),
            "filter": lambda: (0.4 / (1 + 10 * strength), self.score(strength)),
            # Forty times as strong for the same.
            "permuted": lambda: (0.4 / (1 + strength / 4), 0.5 + 0.3 / (1 + strength / 8)),
        }[family]()
        self.points.append(point(family, strength, forgotten, dev))


def invented(score, **options):
    sweep = Invented(
        SimpleNamespace(
            options=RefinementOptions("base", "tuned", "text", nulls=("permuted",), **options),
            measures=SimpleNamespace(metric=ACCURACY),
        ),
        lambda work, what: None,
    )
    sweep.score = score
    sweep._measure("base", 0.0)
    sweep._measure("tuned", 1.0)
    sweep._measure_filter()
    for scale in (0.8, 0.4):
        sweep._measure("scaling", scale)
    return sweep


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    ("score", "strengths", "said"),
    [
        (
            lambda s: 0.8,
            [0.1, 0.3, 1.0, 3.0, 10.0],
            "beyond 0.1, 0.3",
        ),  # a twentieth is left at 3, a hundredth at 10
        (lambda s: 0.8 if s <= 1 else 0.4, [0.1, 0.3, 1.0, 3.0], "1, 3"),
        (lambda s: 0.8 if s < 0.02 else 0.4, [0.01, 0.03, 0.1, 0.3], "0.01, 0.03"),
        (lambda s: 0.8 if s < 0.2 else 0.4, [0.1, 0.3], ""),
    ],
)
def test_strengths_go_on_where_the_pick_would_be_at_their_end(score, strengths, said):
    sweep = invented(score, strengths=(0.1, 0.3))
    assert [one.strength for one in sweep.of("filter")] == strengths
    assert any(said in one for one in sweep.remarks) if said else not sweep.remarks


@pytest.mark.usefixtures("unchecked_types")
def test_no_further_strength_is_tried_where_none_is_allowed_and_that_is_said():
    sweep = invented(lambda s: 0.8, strengths=(0.1, 0.3), further=0)
    assert [one.strength for one in sweep.of("filter")] == [0.1, 0.3]
    assert any("the strongest filter tried, 0.3, is as good as the fine-tune" in one for one in sweep.remarks)


@pytest.mark.usefixtures("unchecked_types")
def test_scaling_is_measured_where_it_forgets_as_much_as_the_pick():
    sweep = invented(lambda s: 0.8 if s < 0.5 else 0.4, strengths=(0.1, 0.3))
    sweep._match_scaling()
    wanted = 0.4 / (1 + 10 * 0.3)
    nearest = min(sweep.of("scaling"), key=lambda one: abs(one.forgotten.mean - wanted))
    assert nearest.strength == pytest.approx(0.5, abs=0.01)  # 0.4 s^2 = 0.1
    assert len(sweep.of("scaling")) <= 4


@pytest.mark.usefixtures("unchecked_types")
def test_a_null_is_made_stronger_until_it_forgets_as_little_as_the_filter():
    sweep = invented(lambda s: 0.8 if s < 0.5 else 0.4, strengths=(0.1, 0.3, 1.0))
    sweep._measure_null("permuted")
    forgotten = [one.forgotten.mean for one in sweep.of("permuted")]
    assert forgotten[0] >= max(one.forgotten.mean for one in sweep.of("filter"))
    assert forgotten[-1] <= 0.1 < forgotten[-2]  # the filter's median
    assert not any("null" in one for one in sweep.remarks)


def test_steps_go_along_one_and_three():
    assert [next_strength(0.03, step) for step in range(-1, 5)] == [0.01, 0.03, 0.1, 0.3, 1.0, 3.0]
    assert next_strength(0.2, 1) == 0.3 or next_strength(0.2, 1) == 1.0
