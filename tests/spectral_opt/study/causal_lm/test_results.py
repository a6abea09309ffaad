"""Statistics and report of a language model's study: at equal loss, by differences in nats."""

import csv
import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

from spectral_opt.study import FoundRecords, judge, read_hypotheses
from spectral_opt.study.report import write_report
from spectral_opt.study.statistics import Measure, gate, hypervolume, seed_effects, select

from helpers.study_records import diverged, language_study


@pytest.fixture(scope="module")
def study():
    return language_study()


def by_seed(records, part, after):
    return {one.seed: one for one in records.values() if (one.part, one.after) == (part, after)}


def test_what_is_lost_at_equal_loss_is_compared_by_its_difference(study):
    _, records = study
    own, adamw = (by_seed(records, "posthoc", after) for after in ("columns", None))
    effects = seed_effects(Measure("lost_difference", "log_likelihood", -0.05), own, adamw, adamw)
    one = adamw[1000].metrics
    whole, scaled, later = one["points"][:3]
    wanted = whole["loss"] + 0.05
    # By hand, of the first seed: scaling has that loss between its second and third state,
    share = (wanted - scaled["loss"]) / (later["loss"] - scaled["loss"])
    assert 0 < share < 1
    rival = scaled["lost"] + share * (later["lost"] - scaled["lost"])
    # the filter between no strength and its own.
    filtered = own[1000].metrics["points"][0]
    share = 0.05 / (filtered["loss"] - whole["loss"])
    assert 0 < share < 1
    expected = whole["lost"] + share * (filtered["lost"] - whole["lost"])
    assert effects.values[1000] == pytest.approx(expected - rival)
    assert not effects.infinite


def test_a_state_is_held_against_scaling_at_its_own_loss(study):
    _, records = study
    own, adamw = (by_seed(records, "posthoc", after) for after in ("columns", None))
    measure = Measure("scaling_difference", "log_likelihood")
    effects = seed_effects(measure, own, adamw, adamw)
    # By hand, of the first seed: scaling has the filter's loss between its first two states that are better and worse,
    points, filtered = adamw[1000].metrics["points"], own[1000].metrics["points"][0]
    better, worse = next(pair for pair in itertools.pairwise(points) if pair[1]["loss"] > filtered["loss"])
    share = (filtered["loss"] - better["loss"]) / (worse["loss"] - better["loss"])
    assert 0 < share < 1
    scaled = better["lost"] + share * (worse["lost"] - better["lost"])
    assert effects.values[1000] == pytest.approx(filtered["lost"] - scaled)
    # scaling beside itself is no better, and of two filters the one difference less the other is theirs.
    assert set(seed_effects(measure, adamw, adamw, adamw).values.values()) == {0.0}
    better = {seed: replace(one, metrics=gained(one.metrics)) for seed, one in own.items()}
    both = seed_effects(measure, better, own, adamw)
    assert both.values[1000] == pytest.approx(-0.1 - filtered["lost"])


def test_a_ratio_of_what_is_below_0_says_nothing(study):
    _, records = study
    own, adamw = (by_seed(records, "posthoc", after) for after in ("columns", None))
    better = {seed: replace(one, metrics=gained(one.metrics)) for seed, one in own.items()}
    measures = (Measure("lost_ratio", "log_likelihood", -0.3), Measure("scaling_ratio", "log_likelihood"))
    for measure, states in zip(measures, (own, better), strict=True):
        effects = seed_effects(measure, states, adamw, adamw)
        assert not effects.values
        assert set(effects.left_out.values()) == {"what is lost is below 0, of which there is no ratio"}


def gained(metrics):
    """The same states, but the first has made the other texts likelier."""
    first, *others = metrics["points"]
    return {**metrics, "points": [{**first, "lost": -0.1}, *others]}


def test_who_never_has_the_score_or_diverges_is_infinitely_worse(study):
    _, records = study
    own, adamw = (by_seed(records, "posthoc", after) for after in ("columns", None))
    measure = Measure("lost_difference", "log_likelihood")
    own = {**own, 1001: diverged(own[1001])}
    low = [{**point, "log_likelihood": -4.5} for point in own[1002].metrics["points"]]
    without = {name: value for name, value in own[1002].metrics.items() if name != "tuned"}
    own[1002] = replace(own[1002], metrics={**without, "points": low})
    effects = seed_effects(measure, own, adamw, adamw)
    assert (effects.values[1001], effects.values[1002]) == (math.inf, math.inf)
    assert effects.infinite[1002] == "adamw+columns never has the score"


def test_tuning_chooses_by_the_loss_and_filters_by_the_difference(study):
    _, records = study
    chosen = select(records.values(), "adamw+columns", "log_likelihood")
    assert all(one.lost_ratio is None and one.lost_difference is not None for one in chosen.tried)
    assert chosen.rule.startswith(
        "the least lost less what is lost by scaling at the fine-tune's own log_likelihood"
    )
    assert select(records.values(), "adamw").chosen.score == pytest.approx(-3.3, abs=0.03)  # its noise
    (passed,) = gate(records.values())
    assert passed.passed
    assert passed.difference.estimate == pytest.approx(0.7, abs=0.03)


def test_a_hypothesis_is_told_in_nats_and_blocks(study):
    plan, records = study
    (verdict,) = judge(plan, records.values())
    assert verdict.verdict == "confirmed"
    assert "nats beside adamw at equal log_likelihood" in verdict.sentence
    assert "on hamlet with 240 blocks" in verdict.sentence


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"kind": "lost_ratio", "below": 1},
            "may be below 0, and has no ratio then: claim a lost_difference",
        ),
        (
            {"kind": "scaling_ratio", "below": 1, "level": None},
            "may be below 0, and has no ratio then: claim a scaling_difference",
        ),
        ({"score": "auc"}, "score is one of log_likelihood; got 'auc'"),
        ({"below": "0"}, "below is a finite number"),
    ],
)
def test_what_cannot_be_claimed_of_a_language_model_is_refused(study, change, message):
    plan, _ = study
    (told,) = plan.hypotheses
    test = {name: value for name, value in {**told["tests"][0], **change}.items() if value is not None}
    with pytest.raises((ValueError, TypeError), match=message):
        read_hypotheses(replace(plan, hypotheses=({**told, "tests": [test]},)))


def test_the_report_has_its_own_words(study, tmp_path):
    plan, records = study
    write_report(tmp_path, plan, FoundRecords(records, {}))
    page = (tmp_path / "report" / "report.html").read_text()
    assert "posthoc: hamlet, 240 blocks" in page
    text = (tmp_path / "report" / "report.md").read_text()
    assert "| method | task, blocks | runs | loss | 95 % | lost | less AdamW's at log-likelihood |" in text
    assert "loss on plots" in text
    assert "nearest neighbours" not in text
    with (tmp_path / "report" / "records.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["texts"].startswith("plots 3.")


def test_a_state_that_keeps_less_than_nothing_covers_nothing():
    assert hypervolume(np.array([0.5, -0.3]), np.array([0.9, 1.5]), 0.7) == pytest.approx(0.1)
