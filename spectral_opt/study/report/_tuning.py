"""How options were chosen: the gate, the best variant of each method, and what each had to choose from."""

from collections.abc import Mapping

from paramgraph.display import TableView
from spectral_opt.study import CellRecord, Value
from spectral_opt.study.report._overview import Overview, Series, options_text
from spectral_opt.study.report._words import between, counted, number
from spectral_opt.study.statistics import budgets, gate, select


def tuning_tables(overview: Overview) -> list[TableView]:
    """Make the tables of the tuning; those of which there is nothing have no rows."""
    records = [record for record in overview.records.values() if record.stage == "tuning"]
    return [_chosen_table(overview, records), _gate_table(records), _budget_table(overview)]


def tuning_remarks(overview: Overview) -> list[str]:
    """Tell what is unfair in a plan: methods that are tried less often than others of their kind."""
    return [
        f"Unequal: {one.label} is tried in {counted(one.variants, 'variant')} of part {one.part}, others in {one.most}."
        for one in budgets(overview.plan)
        if not one.is_equal
    ]


def _chosen_table(overview: Overview, records: list[CellRecord]) -> TableView:
    tried, used = dict[str, Series](), dict[str, list[str]]()
    for own in overview.series.values():
        for series in own:
            if series.panel.stage == "tuning":
                if series.runs:
                    tried.setdefault(series.kind, series)
            else:
                used.setdefault(series.kind, []).append(_told(series))
    rows, muted = list[tuple[str, ...]](), set[int]()
    for kind, series in tried.items():
        if series.is_null:
            muted.add(len(rows))
        selection = select(records, series.kind_label)
        best = selection.chosen
        told = "; ".join(dict.fromkeys(used.get(kind, ["in no other stage"])))
        if best is None:
            reasons = dict.fromkeys(one.why_not for one in selection.tried)
            rows.append((kind, f"none: {'; '.join(reasons)}", *([number(None)] * 4), told))
            continue
        options = {**best.options, **best.after_options}
        values = (best.score, best.loss, best.lost_ratio)
        rows.append((kind, _options(options), *map(number, values), str(len(selection.tried)), told))
    return TableView(
        ("method", "best", "accuracy", "loss", "lost / scaling", "of variants", "in other stages"),
        tuple(rows),
        "Chosen by the tuning runs alone: of a trained method the best mean accuracy on dev texts, then the least "
        "loss; of a filter the least lost over scaling at the fine-tune's accuracy less .01, on selection texts",
        muted=frozenset(muted),
        words=frozenset({1, 6}),
        sortable=True,
    )


def _gate_table(records: list[CellRecord]) -> TableView:
    rows = []
    for one in gate(records):
        found = one.difference
        cells = (
            [number(found.estimate), between(found.low, found.high), str(found.n)]
            if found
            else [number(None)] * 3
        )
        rows.append((f"{one.task}, {one.shots}", one.label, *cells, "passed" if one.passed else "not passed"))
    return TableView(
        ("task, a class", "with", "gain in accuracy", "95 %", "seeds", "gate"),
        tuple(rows),
        "The gate: a fine-tune that does not beat the linear probe it starts from, on dev texts, is no baseline",
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


def _told(series: Series) -> str:
    return _options(series.options)


def _options(options: Mapping[str, Value]) -> str:
    return options_text({name: value for name, value in options.items() if name != "null"}) or "defaults"
