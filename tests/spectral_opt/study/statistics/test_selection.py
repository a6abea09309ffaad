from dataclasses import replace

import pytest

from spectral_opt.study import AfterGrid, CellRecord, MethodGrid, Part, StudyPlan
from spectral_opt.study.statistics import budgets, gate, select

START = {"accuracy": 0.6, "auc": 0.7}


def record(accuracy, loss=0.5, lost=0.4, seed=0, rate=1e-4, after=None, strength=None, **changes):
    """A record of tuning: AUC is .1 above the accuracy; half of the change has lost a quarter and half of the gain."""
    points = [
        {"factor": 1.0, "accuracy": accuracy, "auc": accuracy + 0.1, "loss": loss, "lost": lost},
        {
            "factor": 0.5,
            "accuracy": (accuracy + 0.6) / 2,
            "auc": (accuracy + 0.8) / 2,
            "loss": loss,
            "lost": lost / 4,
        },
    ]
    made = CellRecord(
        "adamw", "news", seed, "tuning", "tuning", 16, {"learning_rate": rate}, after,
        {} if strength is None else {"strength": strength}, "finished", "", {}, {"points": points, "start": START},
        1.0, {}, None,
    )  # fmt: skip
    return replace(made, **changes)


def test_the_best_mean_accuracy_over_seeds_is_chosen():
    tried = [(1e-4, (0.70, 0.72)), (3e-4, (0.69, 0.75)), (1e-3, (0.76, 0.60))]
    records = [record(a, seed=s, rate=rate) for rate, own in tried for s, a in enumerate(own)]
    found = select(records, "adamw")
    assert found.chosen.options == {"learning_rate": 3e-4}
    assert [one.score for one in found.tried] == pytest.approx([0.72, 0.71, 0.68])
    table = found.table()
    assert table.rows[0] == ("adamw,learning_rate=0.0003", "2", "0.7200", "0.5000", "-", "0", "chosen")


def test_the_loss_decides_between_equals():
    records = [record(0.7, loss=0.6), record(0.7, loss=0.4, rate=3e-4)]
    assert select(records, "adamw").chosen.options == {"learning_rate": 3e-4}


def test_what_diverged_or_lacks_a_run_is_told_and_not_chosen():
    ended = record(0.9, rate=1e-3, seed=1, status="diverged", metrics={"start": START})
    records = [record(0.7), record(0.7, seed=1), record(0.8, rate=3e-4), record(0.9, rate=1e-3), ended]
    found = select(records, "adamw")
    assert found.chosen.options == {"learning_rate": 1e-4}
    told = {one.options["learning_rate"]: one.why_not for one in found.tried}
    assert told == {1e-4: "", 3e-4: "1 of 2 runs are missing", 1e-3: "diverged in 1 of 2 runs"}
    assert select([ended], "adamw").chosen is None


def test_only_tuning_decides():
    sneaked = record(0.9, rate=3e-4, stage="confirmation")
    assert select([record(0.7), sneaked], "adamw").chosen.options == {"learning_rate": 1e-4}
    with pytest.raises(ValueError, match="no tuning record of 'adamw'"):
        select([sneaked], "adamw")


def test_a_filter_is_chosen_by_what_it_loses_at_its_fine_tunes_score():
    tune = record(0.8)
    weak = record(0.8, lost=0.3, after="product", strength=0.1)
    good = record(0.795, lost=0.1, after="product", strength=1.0)
    strong = record(0.7, lost=0.01, after="product", strength=10.0)  # has lost the task too
    found = select([tune, strong, weak, good], "adamw+product")
    assert [one.after_options["strength"] for one in found.tried] == [1.0, 0.1, 10.0]
    # At .79: scaling is on its line from .8 to .7, the filter from .795 to .6975.
    scaling, own = 0.4 - 0.1 * 0.3, 0.1 - 0.005 / 0.0975 * 0.075
    assert found.chosen.lost_ratio == pytest.approx(own / scaling)
    assert [one.never for one in found.tried] == [0, 0, 1]
    orphan = select([good], "adamw+product")
    assert (orphan.chosen, orphan.tried[0].why_not) == (
        None,
        "1 of its fine-tunes have no record of their own",
    )


def test_adamw_at_its_best_rate_has_to_beat_the_probe_it_starts_from():
    records = [record(0.6 + gain, seed=s, rate=1e-4) for s, gain in enumerate((0.02, -0.01, 0.05))]
    records += [record(0.5, seed=s, rate=1e-3) for s in range(3)]
    worse = [replace(one, task="films") for one in records if one.options["learning_rate"] == 1e-3]
    films, news = gate([*records, *worse])
    assert (news.task, news.label, news.passed) == ("news", "adamw,learning_rate=0.0001", True)
    assert news.difference.estimate == pytest.approx(0.02)
    assert (films.task, films.passed) == ("films", False)
    ended = gate([record(0.9, status="diverged", metrics={"start": START})])
    assert (ended[0].passed, ended[0].difference) == (False, None)
    assert gate([replace(one, stage="confirmation") for one in records]) == []


def test_a_run_that_stands_in_two_parts_counts_once():
    records = [record(0.7), record(0.75, seed=1), record(0.6, rate=3e-4), record(0.6, seed=1, rate=3e-4)]
    twice = [*records, *(replace(one, part="strengths") for one in records[:2])]
    assert select(twice, "adamw") == select(records, "adamw")
    assert gate(twice) == gate(records)


def test_budgets_count_variants_and_tell_who_was_tried_less():
    rates = (1e-4, 2e-4, 4e-4)
    methods = (
        MethodGrid("linear_probe"),
        MethodGrid("adamw", {"learning_rate": rates}),
        MethodGrid("l2sp", {"learning_rate": (2e-4,), "strength": (0.01, 0.1)}),
    )
    after = (
        AfterGrid("product", ("adamw",), {"strength": (0.1, 1.0), "null": (None, "permuted")}),
        *(AfterGrid("lines", ("adamw",), {"alpha": (one,), "beta": (0.8,)}) for one in (0.2, 0.4)),
        AfterGrid("scaling", ("adamw",), {"factor": (0.5,)}),
    )
    part = Part("tuning", "tuning", ("news",), (16,), (13, 21), methods, after)
    plan = StudyPlan("made up", "model", (), (part, replace(part, name="full", stage="confirmation")))
    found = {one.label: (one.variants, one.seeds, one.is_equal) for one in budgets(plan)}
    assert found == {
        "adamw": (3, 2, True),
        "l2sp": (2, 2, False),
        "adamw+product": (2, 2, True),
        "adamw+product,null=permuted": (2, 2, True),
        "adamw+lines": (2, 2, True),
        "adamw+scaling": (1, 2, False),
    }
