"""Verdicts on records whose answer is known."""

import math
from dataclasses import replace

import pytest
from scipy import stats

from spectral_opt.study import AfterGrid, Cell, MethodGrid, Part, StudyPlan, StudyTask, judge
from spectral_opt.study.statistics import minimum_detectable
from tests.helpers.study_records import diverged, synthetic_plan, synthetic_record, synthetic_records

SEEDS = tuple(range(20))
RATIO = {"kind": "lost_ratio", "part": "full", "methods": ["adamw+product"], "score": "auc", "below": 0.85}
PART = Part(
    "full", "confirmation", ("news", "films"), (500,), SEEDS, (MethodGrid("adamw"),),
    (AfterGrid("product"), AfterGrid("lines")), (1.0, 0.5), evaluate_every=10,
)  # fmt: skip
TASKS = tuple(StudyTask(name, name, ("bbc",), "plots", "bbc") for name in PART.tasks)
NOISE = [0.1 * ((seed * 7) % 20 - 9.5) / 9.5 for seed in SEEDS]  # in no order, with mean 0


def plan_of(*tests, seeds=SEEDS, **hypothesis):
    told = {"id": "H1", "claim": "Refining loses less.", "tests": list(tests), **hypothesis}
    return StudyPlan("made up", "model", TASKS, (replace(PART, seeds=seeds),), (told,))


def records_of(plan, ratios):
    """Records in which each filter loses exp(its log ratio + the seed's noise) of what AdamW does, at every score."""
    made = synthetic_plan(1)
    job = made.jobs(["posthoc"])[0]
    pattern = synthetic_record(made, job, job.cells[0])
    records = {}
    for job in plan.jobs():
        for cell in job.cells:
            ratio = 1.0 if cell.after is None else ratios[cell.task, cell.after] * math.exp(NOISE[cell.seed])
            points = [
                {
                    "factor": factor,
                    "auc": 0.6 + 0.2 * factor,
                    "accuracy": 0.5 + 0.2 * factor,
                    "lost": 0.4 * ratio * factor,
                }
                for factor in (1.0, 0.5)
            ]
            metrics = {"points": points, "start": {"auc": 0.6, "accuracy": 0.5}}
            own = {name: getattr(cell, name) for name in ("part", "task", "shots", "seed", "method", "after")}
            records[cell.key] = replace(pattern, **own, options={}, after_options={}, metrics=metrics)
    return records


def judged(plan, product=(0.6, 0.6), lines=(1.0, 1.0), change=None):
    ratios = {("news", "product"): product[0], ("films", "product"): product[1]}
    ratios |= {("news", "lines"): lines[0], ("films", "lines"): lines[1]}
    records = records_of(plan, ratios)
    if change is not None:
        change(records)
    (found,) = judge(plan, records.values())
    return found


def test_a_claim_that_holds_on_every_task_is_confirmed_with_the_closed_form_of_its_numbers():
    found = judged(plan_of({**RATIO, "estimate_at_most": 0.7}), product=(0.6, 0.65))
    sd = math.sqrt(sum(value**2 for value in NOISE) / 19)
    half = stats.t.ppf(0.975, 19) * sd / math.sqrt(20)
    # The task that is nearer to the bound decides.
    assert (found.verdict, found.n, found.missing) == ("confirmed", 20, ())
    assert (found.estimate, found.low, found.high) == pytest.approx(
        (0.65, 0.65 * math.exp(-half), 0.65 * math.exp(half))
    )
    assert found.p == pytest.approx(stats.t.cdf(math.log(0.65 / 0.85) / (sd / math.sqrt(20)), 19))
    assert found.mde == pytest.approx(math.exp(minimum_detectable(sd, 20)))
    *tasks, pooled = found.by_task
    assert [(row.task, row.verdict) for row in tasks] == [("news", "confirmed"), ("films", "confirmed")]
    assert (pooled.task, pooled.decides, pooled.estimate) == (
        "pooled",
        False,
        pytest.approx(math.sqrt(0.6 * 0.65)),
    )
    assert "of 2 comparisons 2 confirmed" in found.sentence
    assert "adamw+product loses 0.65 times what adamw loses at equal auc" in found.sentence


@pytest.mark.parametrize(
    ("product", "verdict"),
    [
        ((0.6, 1.0), "refuted"),
        ((0.6, 0.84), "undecided"),
        ((0.6, 0.86), "undecided"),
        ((1.0, 1.0), "refuted"),
    ],
)
def test_one_task_on_the_other_side_refutes_and_one_across_the_bound_leaves_it_open(product, verdict):
    assert judged(plan_of(RATIO), product).verdict == verdict


def test_an_estimate_larger_than_claimed_is_not_confirmed_and_an_interval_above_it_refutes():
    test = {**RATIO, "estimate_at_most": 0.7}
    assert judged(plan_of(test), product=(0.71, 0.6)).verdict == "undecided"
    assert judged(plan_of(test), product=(0.78, 0.6)).verdict == "refuted"


@pytest.mark.parametrize(
    ("lines", "verdict"), [((1.0, 1.02), "confirmed"), ((1.0, 1.14), "undecided"), ((1.0, 0.8), "refuted")]
)
def test_a_null_lies_within_two_ends(lines, verdict):
    test = {
        "kind": "lost_ratio",
        "part": "full",
        "methods": ["adamw+lines"],
        "score": "auc",
        "within": [0.9, 1.15],
    }
    assert judged(plan_of(test), lines=lines).verdict == verdict


def test_a_rival_is_beaten_where_the_ratio_to_it_is_below_1():
    test = {**RATIO, "rivals": ["adamw+lines"], "below": 1.0}
    found = judged(plan_of(test), product=(0.6, 0.6), lines=(0.8, 0.9))
    assert (found.verdict, found.estimate) == ("confirmed", pytest.approx(0.75))
    assert judged(plan_of(test), product=(0.6, 0.6), lines=(0.5, 0.9)).verdict == "refuted"


def test_of_any_comparison_one_that_holds_confirms_and_p_counts_them():
    test = {**RATIO, "methods": ["adamw+product", "adamw+lines"]}
    found = judged(plan_of(test, rule="any"), product=(1.0, 0.8))
    assert (found.verdict, found.estimate) == ("confirmed", pytest.approx(0.8))
    assert found.p == pytest.approx(4 * min(row.p for row in found.by_task if row.decides))
    assert judged(plan_of(test, rule="any"), product=(1.0, 1.0)).verdict == "refuted"


def test_pooled_over_tasks_the_mean_log_ratio_decides():
    found = judged(plan_of({**RATIO, "over": "pooled"}), product=(0.5, 0.9))
    assert (found.verdict, found.estimate) == ("confirmed", pytest.approx(math.sqrt(0.45)))
    decides = {"news": False, "films": False, "pooled": True}
    assert {row.task: row.decides for row in found.by_task} == decides


def test_missing_cells_leave_it_undecided_and_are_named():
    gone = Cell("full", "confirmation", "news", 500, 3, "adamw", {}, "product", {}).key
    found = judged(plan_of(RATIO), change=lambda records: records.pop(gone))
    assert (found.verdict, found.missing, found.p) == ("undecided", (gone,), None)
    assert found.estimate == pytest.approx(0.6, rel=0.01)
    assert gone in found.sentence
    # Nor does what is there refute it before the rest has run.
    partial = judged(plan_of(RATIO), product=(0.6, 1.2), change=lambda records: records.pop(gone))
    assert ([row.verdict for row in partial.by_task], partial.verdict) == (
        ["undecided", "refuted", "undecided"],
        "undecided",
    )
    nothing = judged(plan_of(RATIO), change=lambda records: records.clear())
    assert (nothing.verdict, nothing.estimate, nothing.n) == ("undecided", None, 0)
    assert len(nothing.missing) == 80


def test_records_of_another_stage_do_not_count():
    def explore(records):
        records |= {key: replace(record, stage="exploration") for key, record in records.items()}

    assert len(judged(plan_of(RATIO), change=explore).missing) == 80


def test_two_records_of_one_cell_are_refused():
    plan = plan_of(RATIO)
    records = list(
        records_of(
            plan, dict.fromkeys([(t, a) for t in PART.tasks for a in ("product", "lines")], 1.0)
        ).values()
    )
    with pytest.raises(ValueError, match="two records of the cell full/news-500/0/adamw"):
        judge(plan, [*records, records[0]])


def broken(count, how):
    def change(records):
        of_news = [
            key for key, record in records.items() if record.after == "product" and record.task == "news"
        ]
        records |= {key: how(records[key]) for key in of_news[:count]}

    return change


def never(record):
    points = [{**point, "auc": 0.61} for point in record.metrics["points"]]
    return replace(record, metrics={**record.metrics, "points": points})


@pytest.mark.parametrize("how", [diverged, never])
def test_runs_that_diverge_or_never_have_the_score_count_against_the_method(how):
    few = judged(plan_of(RATIO), change=broken(3, how))
    assert few.verdict == "confirmed"
    row = few.by_task[0]
    assert (row.center, row.n, sum(len(seeds) for seeds in row.infinite.values())) == ("median", 20, 3)
    some = judged(plan_of(RATIO), change=broken(8, how))
    assert (some.verdict, some.high) == ("undecided", math.inf)
    assert "without bound]" in some.sentence
    assert "infinite of 8: adamw+product" in some.sentence
    most = judged(plan_of(RATIO), change=broken(18, how))
    assert (most.verdict, most.estimate, most.low) == ("refuted", math.inf, math.inf)
    assert (
        "loses infinitely many times what adamw loses at equal auc [infinite, without bound]" in most.sentence
    )


def test_seeds_without_an_effect_are_counted_and_more_than_half_leave_it_undecided():
    def easy(count):
        def change(records):
            for key, record in records.items():
                if record.seed < count:
                    start = {"auc": 0.9, "accuracy": 0.9}
                    records[key] = replace(record, metrics={**record.metrics, "start": start})

        return change

    found = judged(plan_of(RATIO), change=easy(10))
    assert (found.verdict, found.n) == ("confirmed", 10)
    assert found.by_task[0].left_out == {"the start has the score already": tuple(range(10))}
    assert judged(plan_of(RATIO), change=easy(11)).verdict == "undecided"
    assert judged(plan_of(RATIO), change=easy(20)).verdict == "undecided"


def test_one_seed_decides_nothing():
    assert judged(plan_of(RATIO, seeds=(0,)), product=(0.1, 0.1)).verdict == "undecided"


def test_holm_counts_every_hypothesis_of_the_study():
    plan = plan_of(RATIO)
    hopeless = {**plan.hypotheses[0], "tests": [{**RATIO, "methods": ["adamw+lines"]}]}
    many = (plan.hypotheses[0], *({**hopeless, "id": f"H{place}"} for place in range(2, 11)))
    ratios = {
        ("news", "product"): 0.82,
        ("films", "product"): 0.6,
        ("news", "lines"): 1.0,
        ("films", "lines"): 1.0,
    }
    records = records_of(plan, ratios).values()
    (alone,), (first, *others) = judge(plan, records), judge(replace(plan, hypotheses=many), records)
    assert alone.verdict == "confirmed"
    assert first.p == pytest.approx(10 * alone.p)
    assert (first.verdict, "do not outlast Holm" in first.sentence) == ("undecided", True)
    assert {one.verdict for one in others} == {"refuted"}


def test_a_plan_without_hypotheses_has_no_verdict():
    assert judge(synthetic_plan(1), []) == []


def test_every_kind_of_claim_is_judged_on_a_whole_study():
    tests = [
        {"kind": "perturbation_ratio", "part": "fewshot", "methods": ["l2sp"], "level": -0.02, "below": 1.0},
        {
            "kind": "score_difference",
            "part": "fewshot",
            "methods": ["adamw"],
            "rivals": ["linear_probe"],
            "above": 0.0,
        },
        {"kind": "best_scaling_difference", "part": "posthoc", "methods": ["adamw+product"], "above": 0.0},
        {"kind": "steps_ratio", "part": "convergence", "methods": ["soap"], "below": 1.0},
        {"kind": "time_ratio", "part": "fewshot", "methods": ["spectral_filter"], "below": 1.0},
    ]
    plan = synthetic_plan(6)
    told = tuple({"id": test["kind"], "claim": "so", "tests": [test]} for test in tests)
    plan = replace(plan, hypotheses=told)
    found = {one.id: one for one in judge(plan, synthetic_records(plan).values())}
    assert {name: one.verdict for name, one in found.items()} == {
        "perturbation_ratio": "undecided",
        "score_difference": "confirmed",
        "best_scaling_difference": "refuted",
        "steps_ratio": "confirmed",
        "time_ratio": "refuted",
    }
    difference = found["score_difference"].by_task[0]
    assert difference.items_low < difference.low  # texts add to the spread of seeds
