"""A comparison in one sentence."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

LEVEL = 0.05
# Below this much more energy than by chance a graph is of no use, however certain the difference.
LEAST_EXCESS = 0.05


def verdict(setting: Mapping[str, Any], summary: Sequence[Mapping[str, Any]]) -> str:
    """Say which graph carries the signal, or that none does.

    A construction carries the signal where the share of its energy in the low modes differs from that on permuted
    nodes by more than chance (Holm, .05) and by more than .05. A null model, or a graph built from the very signal it
    is measured on, is never named as the winner.

    Parameters
    ----------
    setting : mapping
        With `signal` and `share`.
    summary : sequence of mapping
        From `summarize`.

    Returns
    -------
    str
        One sentence.

    Examples
    --------
    >>> row = {"construction": "ring", "null": True, "circular": False, "compaction": 0.2, "compaction_permuted": 0.2}
    >>> verdict({"signal": "gradients", "share": 0.2}, [row | {"p_holm": 1.0, "lift_low": None}])
    'Nothing was compared but null models: none can carry the gradients.'
    """
    signal = setting["signal"]
    judged = [row for row in summary if not row["null"] and not row["circular"]]
    if not judged:
        circular = any(row["circular"] for row in summary)
        what = "graphs that were built from the signal itself" if circular else "null models"
        return f"Nothing was compared but {what}: none can carry the {signal}."
    if all(row["p_holm"] is None for row in judged):
        best = max(judged, key=lambda row: row["compaction"] or 0.0)
        return (
            f"{best['construction']} gathers {_percent(best['compaction'])} of the energy of the {signal} in the "
            f"lowest {_share(setting, best)} of its modes; without the permuted null nothing can be said of chance."
        )
    carrying = [row for row in judged if _carries(row)]
    if not carrying:
        nearest = max(judged, key=lambda row: row["compaction"] or 0.0)
        tests = sum(row["p_holm"] is not None for row in summary)
        needed = (
            math.ceil(tests / LEVEL - 1e-9) - 1
        )  # the smallest p-value, 1 / (1 + permutations), times the tests
        if setting.get("permutations", needed) < needed:
            return (
                f"The most compact of {len(judged)} constructions, {nearest['construction']}, gathers "
                f"{_percent(nearest['compaction'])} of the energy of the {signal} in the lowest "
                f"{_share(setting, nearest)} of its modes, permuted nodes {_percent(nearest['compaction_permuted'])}; "
                f"{setting['permutations']} permutations are too few to tell it from chance: {tests} tests need at "
                f"least {needed}."
            )
        return (
            f"None of {len(judged)} constructions carries the {signal}: the best, {nearest['construction']}, gathers "
            f"{_percent(nearest['compaction'])} of their energy in the lowest {_share(setting, nearest)} of its modes, "
            f"permuted nodes {_percent(nearest['compaction_permuted'])}."
        )
    best = max(carrying, key=lambda row: row["compaction"])
    others = len(judged) - len(carrying)
    sentence = (
        f"{best['construction']} carries the {signal}: {_percent(best['compaction'])} of their energy lies in the "
        f"lowest {_share(setting, best)} of its modes, where permuted nodes give "
        f"{_percent(best['compaction_permuted'])}"
    )
    sentence += _lift(best)
    if others:
        sentence += f"; {others} of {len(judged)} constructions gather no more than chance, or hardly more"
    return sentence + "."


def _lift(row: Mapping[str, Any]) -> str:
    """Say how much signal the energy is, where the batches can tell."""
    lift, low, high, permuted = (
        row.get(part) for part in ("lift_low", "lift_low_low", "lift_low_high", "lift_low_permuted")
    )
    if lift is None or low is None or high is None or permuted is None:
        return ""
    interval = f"(95 %: {low:.2f} to {high:.2f}; permuted {permuted:.2f})"
    if low <= 1 <= high:
        return f"; whether it is more signal than noise these batches cannot tell: lift {lift:.2f} {interval}"
    return f", at {lift:.2f} times the signal-to-noise ratio of the whole spectrum {interval}"


def _carries(row: Mapping[str, Any]) -> bool:
    if row["p_holm"] is None or row["compaction"] is None:
        return False
    return bool(row["p_holm"] <= LEVEL and row["compaction"] - row["compaction_permuted"] > LEAST_EXCESS)


def _share(setting: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    """Say what share of the modes counts as low: of large graphs fewer are computed than were asked for."""
    asked, had = setting["share"], row.get("compaction_share")
    share = (
        asked if had is None or abs(had - asked) < 0.01 else had
    )  # a graph of 24 nodes has 5 modes for 20 %
    return f"{100 * share:.0f} %" if share >= 0.095 else f"{100 * share:.1f} %"


def _percent(value: float | None) -> str:
    return "nothing" if value is None else f"{100 * value:.0f} %"
