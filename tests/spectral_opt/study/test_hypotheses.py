"""What can be claimed, and how a wrong claim is told: on a made-up study."""

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from spectral_opt.study import AfterGrid, MethodGrid, StudyPlan, check_hypotheses, read_hypotheses
from spectral_opt.study.statistics import Kind
from tests.helpers.study_records import synthetic_plan

TEST = {
    "kind": "lost_ratio",
    "part": "posthoc",
    "methods": ["adamw+product"],
    "score": "auc",
    "level": -0.01,
    "below": 0.85,
    "estimate_at_most": 0.7,
}


def plan_of(*tests: Any, **hypothesis: Any) -> StudyPlan:
    told = {"id": "H1", "claim": "Refining loses less.", "tests": list(tests), **hypothesis}
    return replace(synthetic_plan(2), hypotheses=(told,))


def changed(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in {**TEST, **values}.items() if value is not None}


def test_a_claim_has_the_tasks_and_shots_of_its_part_and_adamw_as_rival():
    ((claim,),) = (one.claims for one in read_hypotheses(plan_of(TEST)))
    assert (claim.tasks, claim.shots) == (("rotten_tomatoes", "sotu_eras"), (500,))
    assert ([cell.method for cell in claim.rivals], claim.reference.method) == (["adamw"], "adamw")
    assert (claim.upper, claim.estimate_at_most, claim.over) == (0.85, 0.7, "each")
    assert claim.told == "below 0.85, and the estimate at most 0.7"


@pytest.mark.parametrize(
    ("test", "words"),
    [
        (changed(kind="loss_ratio"), "kind is one of lost_ratio"),
        (changed(bellow=0.9), "no key named 'bellow'; did you mean 'below'"),
        (changed(below=None, estimate_at_most=None), "has one of below, within; got none"),
        (changed(within=[0.9, 1.1]), "got below, within"),
        (changed(below=None, above=0.0, estimate_at_most=None), "no key named 'above'"),
        (changed(below=0), "above 0"),
        (changed(below=True), "below is a finite number, got True"),
        (changed(below=float("nan")), "finite number"),
        (changed(below="0.85"), "finite number, got '0.85'"),
        (changed(below=None, within=[1.1, 0.9], estimate_at_most=None), "lower one first"),
        (changed(estimate_at_most=0.9), "at most what the claim is below"),
        (changed(level=0.01), "0 or below"),
        (changed(methods=["adamw+product", "adamw+product,null=None"]), "methods has one of them twice"),
        (changed(part="posthock"), "part is one of tuning, posthoc"),
        (changed(part="tuning", methods=["l2sp,learning_rate=0.0001"]), "stage 'tuning'"),
        (changed(part="convergence", methods=["l2sp"]), "needs scaling curves"),
        (changed(methods=["adamw+prodact"]), "no method of part 'posthoc' named 'adamw.prodact'"),
        (changed(methods=["adamw+product,nul=None"]), "no option named 'nul'; did you mean 'null'"),
        (changed(rivals=["adamw,rate=None"]), "no option named 'rate'"),
        (changed(methods="adamw+product"), "methods is a list of names"),
        (changed(methods=[]), "methods is a list of names"),
        (changed(methods=["adamw"]), "its own rival"),
        (changed(methods=["adamw+product", "adamw+product"]), "a name twice"),
        (changed(rivals=["soap"]), "no method of part 'posthoc' named 'soap'"),
        (changed(tasks=["bbc"]), "tasks has 'bbc'"),
        (changed(tasks=[]), "tasks is a list"),
        (changed(shots=[16]), "shots has 16"),
        (changed(score="f1"), "score is one of accuracy, auc"),
        (changed(over="mean"), "over is one of each, pooled"),
        ("lost_ratio", "is a mapping"),
        ({"kind": "lost_ratio", "below": 1.0}, "part, methods not given"),
        ({"kind": "score_difference", "part": "fewshot", "methods": ["l2sp"], "noninferior": -0.01}, "margin, above 0"),
        ({"kind": "time_ratio", "part": "fewshot", "methods": ["l2sp"], "below": 1, "until": "now"}, "until is one of"),
        ({"kind": "time_ratio", "part": "fewshot", "methods": ["l2sp"], "below": 1, "seconds": ["all"]}, "seconds is"),
    ],
)  # fmt: skip
def test_a_wrong_claim_is_told_with_its_place(test, words):
    with pytest.raises((ValueError, TypeError), match=words) as caught:
        check_hypotheses(plan_of(test))
    assert str(caught.value).startswith("hypothesis 'H1', test 1")


@pytest.mark.parametrize(
    ("hypothesis", "words"),
    [
        ({"rule": "most"}, "rule is one of all, any"),
        ({"tests": []}, "tests is a list of at least one"),
        ({"id": 1}, "hypothesis 1: id is text"),
        ({"claim": ""}, "claim is text"),
        ({"why": "so"}, "no key named 'why'"),
    ],
)
def test_a_wrong_hypothesis_is_told_with_its_place(hypothesis, words):
    with pytest.raises((ValueError, TypeError), match=words):
        check_hypotheses(plan_of(TEST, **hypothesis))


def test_a_name_that_two_variants_of_a_part_have_is_refused_until_options_tell_them_apart():
    plan = plan_of(TEST)
    (posthoc,) = (part for part in plan.parts if part.name == "posthoc")
    filters = tuple(replace(one, options={"strength": (1.0, 3.0)}) for one in posthoc.after)
    others = [part for part in plan.parts if part.name != "posthoc"]
    plan = replace(plan, parts=(*others, replace(posthoc, after=filters)))
    with pytest.raises(
        ValueError, match=r"more than one: say which of adamw,learning_rate=0.0002.product,strength=1.0"
    ):
        check_hypotheses(plan)
    told = {**plan.hypotheses[0], "tests": [changed(methods=["adamw+product,strength=3"])]}
    ((claim,),) = (one.claims for one in read_hypotheses(replace(plan, hypotheses=(told,))))
    assert claim.methods[0].after_options == {"strength": 3.0}


def test_steps_need_a_part_that_looks_at_dev():
    plan = plan_of({"kind": "steps_ratio", "part": "convergence", "methods": ["soap"], "below": 0.9})
    check_hypotheses(plan)
    unseen = tuple(replace(part, evaluate_every=0) for part in plan.parts)
    with pytest.raises(ValueError, match="give part 'convergence' an evaluate_every"):
        check_hypotheses(replace(plan, parts=unseen))


def test_two_hypotheses_have_two_ids():
    plan = plan_of(TEST)
    with pytest.raises(ValueError, match="two hypotheses are called 'H1'"):
        check_hypotheses(replace(plan, hypotheses=plan.hypotheses * 2))


def test_the_hypotheses_of_a_study_are_told_in_yaml():
    told = yaml.safe_load(Path(__file__).with_name("hypotheses.yaml").read_text(encoding="utf-8"))
    plan = synthetic_plan(1)
    nulls = tuple(AfterGrid("product", ("adamw",), {"null": (null,)}) for null in ("permuted", "rotated"))
    filters = {
        "posthoc": (
            *(AfterGrid(name) for name in ("product", "diagonal_fisher", "lines", "distilled")),
            *nulls,
        )
    }
    both = (MethodGrid("spectral_both"), MethodGrid("spectral_both", {"null": ("permuted",)}))
    power = MethodGrid("spectral_power", {"p": (-0.25, 0.0, 0.25)})
    methods = {"fewshot": (MethodGrid("adamw"), *both), "convergence": (MethodGrid("adamw"), power)}
    parts = tuple(
        replace(part, after=filters.get(part.name, ()), methods=methods.get(part.name, part.methods))
        for part in plan.parts
    )
    found = read_hypotheses(replace(plan, parts=parts, hypotheses=tuple(told)))
    # Of a language model, and in a study of its own.
    others = set(get_args(Kind)) - {"lost_difference", "scaling_difference"}
    assert {claim.measure.kind for one in found for claim in one.claims} == others
    assert [one.id for one in found] == [f"H{place}" for place in range(1, 8)]
    assert found[0].claims[0].methods[0].after_options == {}
    assert [cell.options["p"] for cell in found[6].claims[0].methods] == [-0.25, 0.0, 0.25]
