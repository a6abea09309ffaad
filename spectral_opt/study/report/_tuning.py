"""How options were chosen: the gate, the best variant of each method, and what each had to choose from."""

from collections.abc import Mapping

from paramgraph.display import TableView
from spectral_opt.study import CellRecord, Value
from spectral_opt.study.report._overview import Overview, options_text
from spectral_opt.study.report._words import between, counted, number
from spectral_opt.study.statistics import budgets, gate, select


def tuning_tables(overview: Overview) -> list[TableView]:
    """Make the tables of the tuning; those of which there is nothing have no rows."""
    records = [record for record in overview.records.values() if record.stage == "tuning"]
    return [_chosen_table(overview, records), _gate_table(overview, records), _budget_table(overview)]


def tuning_remarks(overview: Overview) -> list[str]:
    """Tell what is unfair in a plan: methods that are tried less often than others of their kind."""
    return [
        f"Unequal: {one.label} is tried in {counted(one.variants, 'variant')} of part {one.part}, others in {one.most}."
        for one in budgets(overview.plan)
        if not one.is_equal
    ]


def _chosen_table(overview: Overview, records: list[CellRecord]) -> TableView:
    rows, muted, kinds = list[tuple[str, ...]](), set[int](), list[str]()
    for part in (one.name for one in overview.plan.parts if one.stage == "tuning"):
        panels = {panel: own for panel, own in overview.tuning.items() if panel.part == part}
        tried = {series.kind: series for own in panels.values() for series in own if series.runs}
        for kind, series in tried.items():
            if not series.is_trained:
                continue
            if series.is_null:
                muted.add(len(rows))
            kinds.append(part)
            # Filters are compared as everywhere in the report.
            is_filter = series.cell.after is not None
            selection = select(
                [record for record in records if record.part == part],
                series.kind_label,
                series.panel.words.score if is_filter else None,
            )
            best, used = selection.chosen, _used(overview, kind, {(one.task, one.shots) for one in panels})
            if best is None:
                reasons = dict.fromkeys(one.why_not for one in selection.tried)
                cells = [f"none: {'; '.join(reasons)}", *([number(None)] * 4)]
            else:
                values = (best.score, best.loss, best.lost)
                cells = [
                    _options({**best.options, **best.after_options}),
                    *map(number, values),
                    str(len(selection.tried)),
                ]
            rows.append((kind, part, *cells, used))
    return TableView(
        ("method", "part", "best", "score", "loss", "lost, scaling", "of variants", "in other stages"),
        tuple(rows),
        "Chosen by the tuning runs of each part alone: of a trained method the best mean accuracy on dev texts, then "
        "the least loss; of a filter the least lost over scaling at the fine-tune's AUC less .01, on selection texts. "
        "Score: accuracy, of a filter AUC. Of a language model the score is the log-likelihood of a token, and of a "
        "filter what is lost less what scaling loses at .03 below the fine-tune's. In other stages: with which options "
        "it runs there on the part's tasks",
        muted=frozenset(muted),
        words=frozenset({1, 2, 7}),
        sortable=True,
        kinds=tuple(kinds),
    )


def _used(overview: Overview, kind: str, places: set[tuple[str, int]]) -> str:
    """Tell with which options a kind runs in other stages on tasks with so many shots."""
    told = [
        _options(series.options)
        for panel, own in overview.series.items()
        if panel.stage != "tuning" and (panel.task, panel.shots) in places
        for series in own
        if series.kind == kind
    ]
    return "; ".join(dict.fromkeys(told)) or "in no other stage"


def _gate_table(overview: Overview, records: list[CellRecord]) -> TableView:
    rows, units = [], {task.name: task.shots_of for task in overview.plan.tasks}
    for one in gate(records):
        found = one.difference
        cells = (
            [number(found.estimate), between(found.low, found.high), str(found.n)]
            if found
            else [number(None)] * 3
        )
        rows.append(
            (
                f"{one.task}, {one.shots} {units[one.task]}",
                one.label,
                *cells,
                "passed" if one.passed else "not passed",
            )
        )
    return TableView(
        ("task", "with", "gain in score", "95 %", "seeds", "gate"),
        tuple(rows),
        "The gate: a fine-tune that does not beat what it starts from, on dev texts, is no baseline",
        words=frozenset({1, 5}),
    )


def _budget_table(overview: Overview) -> TableView:
    rows = [
        (
            one.label,
            one.part,
            str(one.variants),
            str(one.seeds),
            "" if one.is_equal else f"fewer than {one.most}",
        )
        for one in budgets(overview.plan)
    ]
    return TableView(
        ("method", "part", "variants", "seeds", "remark"),
        tuple(rows),
        "Budgets: how many variants of each are tried, on each task and number of shots",
        words=frozenset({1, 4}),
        sortable=True,
    )


def _options(options: Mapping[str, Value]) -> str:
    return options_text({name: value for name, value in options.items() if name != "null"}) or "defaults"
