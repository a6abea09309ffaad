"""What a refinement's page says: its verdict never contradicts its table."""

import re

import pytest
from hypothesis import given, settings, strategies as st

from spectral_opt.sweep import refinement_sentences, refinement_tables


def scores(task):
    return {"balanced_accuracy": task, "macro_f1": task}


def state(family, strength, forgotten, task=0.7):
    return {
        "family": family,
        "strength": strength,
        "norm_kept": 1.0,
        "forgotten": forgotten,
        "forgotten_low": 0.9 * forgotten,
        "forgotten_high": 1.1 * forgotten,
        "neighbours_kept": 0.9,
        "task": task,
        "task_low": task - 0.05,
        "task_high": task + 0.05,
        "seconds": 1.0,
        **scores(task),
    }


def gain(strength, value, p_holm=1.0):
    found = {"strength": strength, "forgotten": 0.1, "filter": 0.7, "p_value": p_holm, "p_holm": p_holm}
    if value is None:
        return found | dict.fromkeys(("scaling", "gain", "gain_low", "gain_high", "p_value", "p_holm"))
    return found | {
        "scaling": 0.7 - value,
        "gain": value,
        "gain_low": value - 0.02,
        "gain_high": value + 0.02,
    }


def mean_of(gains, p_value):
    values = [row["gain"] for row in gains if row["gain"] is not None]
    if not values:
        return None
    value = sum(values) / len(values)
    return {"gain": value, "gain_low": value - 0.02, "gain_high": value + 0.02, "p_value": p_value}


def results(*gains, mean_p=1.0, **more):
    test = {
        "family": "tuned",
        "strength": 1.0,
        "is_tuned": True,
        "task": 0.8,
        "task_low": 0.7,
        "task_high": 0.9,
    }
    test |= {"difference": 0.0, "difference_low": 0.0, "difference_high": 0.0, "p_value": 1.0, **scores(0.8)}
    majority = {"label": "good", "accuracy": 0.6, "class_counts": {"bad": 40, "good": 60}, **scores(0.5)}
    return {
        "finished": True,
        "kind": "encoder",
        "task_metric": "probe",
        "higher_is_better": True,
        "sizes": {"test": 100, "held_out": 48, "dev": 96},
        "points": [state("base", 0.0, 0.0), state("tuned", 1.0, 0.3), state("filter", 0.1, 0.1)],
        "picked": {"filter": {"family": "tuned", "strength": 1.0}},
        "majority": {"dev": majority, "test": majority},
        "has_forgotten": True,
        "test": [test, test | {"family": "filter"}],
        "equal_forgetting": {"by_strength": list(gains), "mean": mean_of(gains, mean_p)},
        "written": {
            "form": "weights",
            "is_tuned": True,
            "why": "picked on dev",
            "norm_kept": 1.0,
            "strength": 1.0,
        },
        "remarks": [],
    } | more


def first(*gains, **more):
    return refinement_sentences(results(*gains, **more))[0]


def test_a_filter_better_at_every_strength_is_called_so_though_the_fine_tune_is_what_is_written():
    # No strength shows it alone.
    said = refinement_sentences(results(gain(0.1, 0.05, 0.08), gain(0.3, 0.03, 0.06), mean_p=0.01))
    assert said[0] == (
        "At equal forgetting, against scaling on 100 test texts, the filter is better; gain over its 2 strengths: "
        "+0.040 [+0.020, +0.060], p = 0.01."
    )
    by_strength = "by strength, with Holm's p: 0.1: +0.050 (p = 0.08), 0.3: +0.030 (p = 0.06)."
    assert any(by_strength in one for one in said)
    assert any(one.startswith("Written: a model, the fine-tune unchanged") for one in said)


@pytest.mark.parametrize(
    ("gains", "mean_p", "words"),
    [
        (
            [(0.1, -0.05, 0.01), (0.3, -0.04, 0.01)],
            0.01,
            "the filter is worse; gain over its 2 strengths: -0.045",
        ),
        (
            [(0.1, 0.2, 0.01), (0.3, -0.04, 0.01)],
            0.01,
            "the filter is better in the mean, and worse at strength 0.3;",
        ),
        (
            [(0.1, 0.05, 0.01), (0.3, -0.05, 0.01)],
            1.0,
            "is better at strength 0.1 and worse at strength 0.3, and in the",
        ),
        (
            [(0.1, 0.05, 0.01), (0.3, 0.06, 0.01)],
            0.06,
            "is better at strength 0.1, 0.3, and in the mean cannot be told",
        ),
        (
            [(0.1, 0.05, 0.2), (0.3, 0.06, 0.2)],
            0.06,
            "the filter cannot be told from it; gain over its 2 strengths",
        ),
        ([(0.1, 0.05, 0.01)], 0.01, "the filter is better; gain: +0.050 [+0.030, +0.070], p = 0.01."),
        ([(0.1, 0.05, 0.01), (0.3, None)], 0.01, "; 1 of 2 strengths forget more or less than any factor."),
    ],
)
def test_the_filter_is_judged_in_the_mean_and_strength_by_strength(gains, mean_p, words):
    assert words in first(*(gain(*one) for one in gains), mean_p=mean_p)


@pytest.mark.parametrize(
    ("p_value", "words"), [(0.06, "no difference that these"), (0.04, "a difference that these")]
)
def test_a_difference_on_test_is_judged_by_its_p_value(p_value, words):
    row = results()["test"][0] | {"family": "filter", "strength": 0.1, "is_tuned": False, "p_value": p_value}
    row |= {"difference": 0.02, "difference_low": 0.001, "difference_high": 0.04}
    said = refinement_sentences(results(test=[row]))
    assert any(f"p = {p_value}: {words} texts" in one for one in said)


def test_what_was_not_measured_is_said():
    assert "too few texts for a test" in first()
    assert "no strength forgets as much as any factor" in first(gain(0.1, None))
    assert "that takes task data" in first(task_metric=None, picked={}, test=[])


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (
            "encoder",
            "the filter loses 0.044 of the neighbours and scaling 0.000; scaling's less the filter's: -0.044",
        ),
        ("causal", "the filter forgets +0.044 nats and scaling 0.000; scaling's less the filter's: -0.044"),
    ],
)
def test_where_scaling_loses_nothing_the_difference_is_told_in_what_was_measured(kind, words):
    row = {"strength": 0.1, "task": 0.7, "filter": 0.044, "scaling": 0.0, "less": -0.044, "less_low": -0.06}
    row |= {"less_high": -0.03, "ratio": None, "reached": 1.0}
    said = refinement_sentences(results(gain(0.1, 0.05, 0.01), kind=kind, equal_score=[row]))
    assert any(words in one for one in said)


def test_where_nothing_was_forgotten_there_is_nothing_to_refine():
    said = refinement_sentences(results(gain(0.1, 0.05, 0.01), has_forgotten=False))
    assert said[0].startswith("There is nothing to refine: what the fine-tune forgot, 0.3000")
    assert not any("picked on dev." in one or "better" in one for one in said)


def test_the_most_frequent_class_stands_below_the_accuracies_with_its_counts():
    tables = refinement_tables(results(gain(0.1, 0.05)))
    for table in (tables[0], tables[-1]):
        assert table.rows[-1][0] == "always good"
        assert "0.600" in table.rows[-1]
        assert len(table.rows[-1]) == len(table.header)
        assert "texts: bad 40, good 60" in table.caption


@pytest.mark.parametrize(("accuracy", "said"), [(0.6, False), (0.75, True)])
def test_a_fine_tune_that_is_not_above_the_most_frequent_class_is_said_not_to_be(accuracy, said):
    found = results(gain(0.1, 0.05))
    found["majority"]["test"]["accuracy"] = accuracy
    assert ("is not above that of always answering good" in refinement_sentences(found)[1]) == said


def test_results_of_earlier_versions_are_still_shown():
    old = results()
    for name in ("majority", "has_forgotten", "equal_forgetting"):
        del old[name]
    for row in (*old["points"], *old["test"]):
        del row["balanced_accuracy"], row["macro_f1"]
    assert len(refinement_tables(old)) == 2
    assert "picked on dev" not in refinement_tables(old)[0].rows[-1]
    assert not any("equal forgetting" in one for one in refinement_sentences(old))


GAINS = st.lists(st.tuples(st.floats(-0.3, 0.3), st.floats(0, 1)), min_size=1, max_size=4)


@settings(max_examples=200, deadline=None)
@given(GAINS, st.floats(0, 1))
def test_a_verdict_never_contradicts_its_table(drawn, mean_p):
    gains = [gain(place / 10, value, p) for place, (value, p) in enumerate(drawn, 1)]
    found = results(*gains, mean_p=mean_p)
    said, mean = refinement_sentences(found)[0], found["equal_forgetting"]["mean"]["gain"]
    shown = [value for value, p in drawn if p <= 0.05] + [mean] * (mean_p <= 0.05)
    # A word is there only if a test says so, and none that a test says is passed over.
    assert ("better" in said) == any(value > 0 for value in shown)
    assert ("worse" in said) == any(value < 0 for value in shown)
    assert ("cannot be told" in said) == (mean_p > 0.05 or mean == 0)
    assert len(re.findall(r"p = ", said)) == 1
