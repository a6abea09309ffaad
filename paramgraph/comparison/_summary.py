"""A comparison pooled over layers: one row for each construction, and the whole in one sentence.

Sums and means are NumPy's: pandas is in an extra that reading and drawing need, and comparing does not.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from paramgraph.comparison._evidence import noise_facts
from paramgraph.comparison._store import plain
from paramgraph.measures import BandStatistics, jackknife_statistics, permutation_p_value, pool_bands

MEANS = (
    "compaction",
    "compaction_share",
    "compaction_permuted",
    "compaction_rotated",
    "compaction_random",
    "energy_low",
    "energy_high",
    "edge_stability",
    "edge_stability_expected",
    "weight_stability",
    "seed_stability",
    "spectral_gap",
)
TOTALS = ("nodes", "edges", "components", "isolated", "build_seconds", "seconds")
LEVEL = 0.05
# Below this much more energy than by chance a graph is of no use, however certain the difference.
LEAST_EXCESS = 0.05


def summarize(
    constructions: Sequence[Mapping[str, Any]], cells: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    r"""Pool the cells of each construction over layers and seeds, one row each; none where nothing was measured.

    Shares and stabilities are means over cells, counts and seconds are sums over layers (means over seeds). The
    z-score of a sum over layers is :math:`\sum_l (T_l - \mu_l) / \sqrt{\sum_l \sigma_l^2}`, and the p-value counts the
    permutations whose sum :math:`\sum_l T_{l \pi}` is as large: a test of the mean compaction, not of whether some
    layer is out of the ordinary. Layers of one size are permuted alike, so that the p-value allows for what they have
    in common, such as the dimensions of a residual stream; the z-score takes them as independent, and is the larger
    for it. Of several seeds, which share their text, the largest p-value is taken. Holm's correction is over all
    constructions that were tested; one whose graph was built from the very signal it is measured on has no p-value.
    Signal and noise, as they are and with nodes permuted, are pooled as in `pool_bands`.
    """
    rows = []
    for construction in constructions:
        own = [cell for cell in cells if cell["construction"] == construction["name"]]
        if own:
            rows.append(_row(construction, own))
    tested = [row for row in rows if row["p_value"] is not None]
    for row, corrected in zip(tested, holm([row["p_value"] for row in tested]), strict=True):
        row["p_holm"] = corrected
    return [plain(row) for row in rows]


def holm(p_values: Sequence[float]) -> list[float]:
    r"""Correct p-values of m tests by Holm's step-down method: a family-wise error of a rejects what is at most a.

    .. math:: \tilde p_{(i)} = \max_{j \le i} \min(1, (m - j + 1) \, p_{(j)})

    S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6(2), 1979.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(order), 0, -1)
    stepped = np.maximum.accumulate(np.minimum(1.0, factors * np.asarray(p_values, dtype=float)[order]))
    corrected = np.empty(len(order))
    corrected[order] = stepped
    return [float(value) for value in corrected]


def verdict(
    setting: Mapping[str, Any], summary: Sequence[Mapping[str, Any]], unmeasured: Sequence[str] = ()
) -> str:
    """Say in one sentence which graph carries the signal, or that none does; `unmeasured` are named beside them.

    A construction carries the signal where the share of its energy in the low modes differs from that on permuted
    nodes by more than chance (Holm, .05) and by more than .05. A null model, or a graph built from the very signal it
    is measured on, is never named as the winner; one that gathers more than the winner is named beside it.
    """
    signal = setting["signal"]
    left_out = f" Not measured: {', '.join(unmeasured)}." if unmeasured else ""
    covered = setting.get("coverage") or {}
    if covered.get("warning"):
        left_out += f" Only {100 * covered['share']:.3g} % of the model's weights are in nodes."
    zero = setting.get("zero_layers")
    if not summary:
        return f"Nothing was measured.{left_out}"
    if all(row["compaction"] is None for row in summary):
        changed = ": nothing was changed there" if signal == "updates" else ""
        return f"No graph can carry the {signal}: they are zero in every layer that was measured{changed}.{left_out}"
    if zero:
        layers = "1 layer, which is" if zero == 1 else f"{zero} layers, which are"
        left_out = f" The {signal} are zero in {layers} left out.{left_out}"
    judged = [row for row in summary if not row["null"] and not row["circular"]]
    known = [row for row in judged if row["compaction"] is not None]
    if not known:
        kinds = (("circular", "graphs that were built from the signal itself"), ("null", "null models"))
        what = " and ".join(words for kind, words in kinds if any(row[kind] for row in summary))
        return f"Nothing was compared but {what}: none can carry the {signal}.{left_out}"
    carrying = [row for row in known if carries(row)]
    said = _carried(setting, summary, known, carrying) if carrying else _uncarried(setting, summary, known)
    return f"{said}.{left_out}"


def _carried(
    setting: Mapping[str, Any],
    summary: Sequence[Mapping[str, Any]],
    judged: Sequence[Mapping[str, Any]],
    carrying: Sequence[Mapping[str, Any]],
) -> str:
    """Name the most compact of those that carry the signal, its test, and whatever speaks against it."""
    best = max(carrying, key=lambda row: row["compaction"])
    said = (
        f"{best['construction']} carries the {setting['signal']}: {_percent(best['compaction'])} of their energy lies "
        f"in the lowest {_share(setting, best)} of its modes, where permuted nodes give "
        f"{_percent(best['compaction_permuted'])} ({_tested(setting, summary, best)}){_fewer_layers(summary, best)}"
    )
    said += _lift(best) + _other_nulls(best) + _better_null(summary, best)
    also, others = len(carrying) - 1, len(judged) - len(carrying)
    if also:
        do = "do" if also > 1 else "does"
        said += f"; {also} more of {len(judged)} constructions {do}, and which is best was not tested"
    if others:
        gather = "gather" if others > 1 else "gathers"
        said += f"; {others} of {len(judged)} constructions {gather} no more than chance, or hardly more"
    return said


def _uncarried(
    setting: Mapping[str, Any], summary: Sequence[Mapping[str, Any]], judged: Sequence[Mapping[str, Any]]
) -> str:
    """Show the most compact construction, and why it is not said to carry the signal."""
    tested = [row for row in judged if row["p_holm"] is not None]
    nearest = max(tested or judged, key=lambda row: row["compaction"])
    permuted = nearest["compaction_permuted"]
    beside = "" if permuted is None else f", permuted nodes {_percent(permuted)}"
    beside += _fewer_layers(summary, nearest) + _better_null(summary, nearest)
    shown = (
        f"gathers {_percent(nearest['compaction'])} of the energy of the {setting['signal']} in the lowest "
        f"{_share(setting, nearest)} of its modes{beside}"
    )
    count, name = len(judged), nearest["construction"]
    most = f"The most compact of {count} constructions, {name}, {shown}"
    drawn = setting.get("permutations")
    if not tested:
        if "permuted" not in setting.get("nulls", ("permuted",)):
            why = "the permuted null was not asked for"
        elif drawn == 0:
            why = "no permutations were asked for"
        else:
            why = "there is no p-value"
        return f"{most}; {why}, so whether that is chance was not tested"
    # The smallest p-value, 1 / (1 + permutations), times the tests.
    tests = _tests(summary)
    needed = math.ceil(tests / LEVEL - 1e-9) - 1
    if drawn is not None and drawn < needed and _exceeds(nearest):
        return f"{most}; {drawn} permutations are too few to tell it from chance: {tests} tests need at least {needed}"
    return f"None of {count} constructions carries the {setting['signal']}: the best, {name}, {shown}"


def best_drawing(
    drawings: Sequence[dict[str, Any]], summary: Sequence[Mapping[str, Any]]
) -> dict[str, Any] | None:
    """Choose the drawing of the most compact construction that is no null; None where there is none."""
    judged = [row for row in summary if not row["null"]] or list(summary)
    order = [row["construction"] for row in sorted(judged, key=lambda row: -(row["compaction"] or 0.0))]
    known = {drawing["construction"]: drawing for drawing in drawings}
    return next((known[one] for one in order if one in known), None)


def _row(construction: Mapping[str, Any], cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    seeds = list(dict.fromkeys(cell["seed"] for cell in cells))
    by_seed = [[cell for cell in cells if cell["seed"] == seed] for seed in seeds]
    circular = any(cell["circular"] for cell in cells)
    row: dict[str, Any] = {
        "construction": construction["name"],
        "builder": construction["builder"],
        "source": construction["source"],
        "null": construction["null"],
        "circular": circular,
        "layers": len({cell["layer"] for cell in cells}),
        **{name: _total(cells, name) / len(seeds) for name in TOTALS},
        **{name: _mean(cells, name) for name in MEANS},
        "graph_megabytes": max(cell.get("graph_megabytes") or 0.0 for cell in cells),
        "z_score": _mean_of([_pooled_z(part) for part in by_seed]),
        "p_value": None if circular else _pooled_p(by_seed),
        "p_holm": None,
        **_pooled_energy(cells),
        **_pooled_noise(by_seed),
    }
    return row


def _numbers(cells: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    return [float(cell[name]) for cell in cells if cell.get(name) is not None and math.isfinite(cell[name])]


def _total(cells: Sequence[Mapping[str, Any]], name: str) -> float:
    return float(sum(_numbers(cells, name)))


def _mean(cells: Sequence[Mapping[str, Any]], name: str) -> float | None:
    return _mean_of(_numbers(cells, name))


def _mean_of(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None and math.isfinite(value)]
    return float(np.mean(known)) if known else None


def _pooled_z(cells: Sequence[Mapping[str, Any]]) -> float | None:
    known = [cell for cell in cells if cell.get("z_score") is not None]
    if not known:
        return None
    above = sum(cell["compaction"] - cell["compaction_permuted"] for cell in known)
    return float(above / math.sqrt(sum(cell["compaction_permuted_sd"] ** 2 for cell in known)))


def _pooled_p(by_seed: Sequence[Sequence[Mapping[str, Any]]]) -> float | None:
    pooled = []
    for part in by_seed:
        drawn = [cell for cell in part if None not in (cell.get("evidence") or {}).get("draws", [None])]
        if drawn:
            sums = np.sum([cell["evidence"]["draws"] for cell in drawn], axis=0)
            pooled.append(permutation_p_value(sum(cell["compaction"] for cell in drawn), sums))
    return max(pooled) if pooled else None


def _pooled_energy(cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean share by band, with the null's mean and the deviation of its mean over layers."""
    lengths = [len(cell["energy"]) for cell in cells if cell.get("energy")]
    bands = max(set(lengths), key=lengths.count, default=0)
    alike = [cell for cell in cells if cell.get("energy") and len(cell["energy"]) == bands]
    finite = [cell for cell in alike if None not in cell["energy"]]
    if not finite:
        return {"energy": None, "null_energy": None, "null_energy_sd": None}
    nulls = [cell for cell in finite if cell.get("null_energy") and None not in cell["null_energy"]]
    layers = len({cell["layer"] for cell in nulls})
    found: dict[str, Any] = {"energy": np.mean([cell["energy"] for cell in finite], axis=0)}
    found["null_energy"] = np.mean([cell["null_energy"] for cell in nulls], axis=0) if nulls else None
    # Layers are permuted one by one; seeds of a layer are not independent and count once.
    squares = [np.square(cell["null_energy_sd"]) for cell in nulls]
    found["null_energy_sd"] = np.sqrt(np.mean(squares, axis=0) / layers) if nulls else None
    return found


def _pooled_noise(by_seed: Sequence[Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Lift and gain pooled over layers; of several seeds the mean, within the widest interval."""
    found = [facts for part in by_seed if (facts := _pooled_facts(part, "statistics"))]
    nulls = [facts for part in by_seed if (facts := _pooled_facts(part, "null_statistics"))]
    row: dict[str, Any] = {"snr": np.mean([one["snr"] for one in found], axis=0) if found else None}
    for name in ("lift_low", "gain"):
        ends = [one[f"{name}_interval"] for one in found if one[f"{name}_interval"] is not None]
        row[name] = _mean_of([one[name] for one in found])
        row[f"{name}_low"] = min((low for low, _ in ends), default=None)
        row[f"{name}_high"] = max((high for _, high in ends), default=None)
        row[f"{name}_permuted"] = _mean_of([one[name] for one in nulls])
    return row


def _pooled_facts(cells: Sequence[Mapping[str, Any]], name: str) -> dict[str, Any] | None:
    """Ratios, lift and gain of all layers together; None where there are none, or their bands differ."""
    statistics = [
        _statistics(cell["evidence"][name]) for cell in cells if name in (cell.get("evidence") or {})
    ]
    usable = [one for one in statistics if one.noise.sum() > 0]
    if not usable or len({tuple(one.high) for one in usable}) > 1:
        return None
    return noise_facts(pool_bands(usable))


def _statistics(values: Mapping[str, Any]) -> BandStatistics:
    arrays = {name: np.array(value, dtype=float) for name, value in values.items()}
    arrays["modes"] = arrays["modes"].astype(np.int64)
    return jackknife_statistics(**arrays)


def _lift(row: Mapping[str, Any]) -> str:
    """Say how much signal the energy is, where the batches can tell."""
    lift, low, high, permuted = (
        row.get(part) for part in ("lift_low", "lift_low_low", "lift_low_high", "lift_low_permuted")
    )
    if lift is None or low is None or high is None or permuted is None:
        return ""
    interval = f"(95 %: {low:.2f} to {high:.2f}; permuted {permuted:.2f})"
    if high < 1:
        return f", but at {lift:.2f} times the signal-to-noise ratio of the whole spectrum, which is less {interval}"
    if low <= max(1, permuted):
        return f"; whether it is more signal than noise these batches cannot tell: lift {lift:.2f} {interval}"
    return f", at {lift:.2f} times the signal-to-noise ratio of the whole spectrum {interval}"


def _tested(setting: Mapping[str, Any], summary: Sequence[Mapping[str, Any]], row: Mapping[str, Any]) -> str:
    """Give the corrected p-value, and say where it is the smallest that was possible."""
    tests, drawn = _tests(summary), setting.get("permutations")
    said = f"p = {row['p_holm']:.2g}" + (f" of {tests} tests by Holm" if tests > 1 else "")
    least = row.get("p_value") is not None and drawn and row["p_value"] * (1 + drawn) < 1.001  # six digits
    return said + (f", the least that {drawn} permutations can give" if least else "")


def _tests(summary: Sequence[Mapping[str, Any]]) -> int:
    return sum(row["p_holm"] is not None for row in summary)


def _fewer_layers(summary: Sequence[Mapping[str, Any]], row: Mapping[str, Any]) -> str:
    """Say where a mean is over other layers than that of its neighbours in the table."""
    own, most = row.get("layers"), max(one.get("layers") or 0 for one in summary)
    return f", in the {own} of {most} layers where it could be measured" if own and own < most else ""


def _other_nulls(row: Mapping[str, Any]) -> str:
    """Name nulls of the same graph that gather nearly as much: they know its degrees, or its eigenvalues, alone."""
    names = {
        "compaction_random": "a random graph of the same degrees",
        "compaction_rotated": "a random basis of the same eigenvalues",
    }
    near = [
        f"{what} {_percent(row[name])}"
        for name, what in names.items()
        if row.get(name) is not None and row["compaction"] - row[name] <= LEAST_EXCESS
    ]
    return f"; but {' and '.join(near)} as well" if near else ""


def _better_null(summary: Sequence[Mapping[str, Any]], row: Mapping[str, Any]) -> str:
    """Name the null model that gathers most, where it gathers more than this construction."""
    nulls = [one for one in summary if one["null"] and one["compaction"] is not None]
    most = max(nulls, key=lambda one: one["compaction"], default=None)
    if most is None or most["compaction"] <= row["compaction"]:
        return ""
    return f"; the null model {most['construction']} gathers {_percent(most['compaction'])}"


def carries(row: Mapping[str, Any]) -> bool:
    """Say whether a row of `summarize` carries the signal, by the rule of `verdict`."""
    return row["p_holm"] is not None and row["p_holm"] <= LEVEL and _exceeds(row)


def _exceeds(row: Mapping[str, Any]) -> bool:
    permuted = row["compaction_permuted"]
    return permuted is not None and row["compaction"] - permuted > LEAST_EXCESS


def _share(setting: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    """Say what share of the modes counts as low: of large graphs fewer are computed than were asked for."""
    asked, had = setting["share"], row.get("compaction_share")
    # A graph of 24 nodes has 5 modes for 20 %.
    share = asked if had is None or abs(had - asked) < 0.01 else had
    return f"{100 * share:.0f} %" if share >= 0.095 else f"{100 * share:.1f} %"


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %"
