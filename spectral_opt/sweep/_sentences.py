"""What a refinement's numbers say, in sentences: the answer first, then what is written and why."""

from typing import Any

from spectral_opt.sweep._words import NULLS, ends, interval, name_of, sentence, task_label

LEVEL = 0.05


def refinement_sentences(results: dict[str, Any]) -> list[str]:
    """Say what the filter is worth, what was written, and what the test shows; what did not help as plainly."""
    return [*refinement_findings(results), *refinement_remarks(results)]


def refinement_findings(results: dict[str, Any]) -> list[str]:
    """Say what was found; the first sentence is the answer."""
    said = [
        _verdict(results),
        _beside_majority(results),  # where it speaks, the answer is of a fine-tune that has learned nothing
        _written(results),
        _at_equal_score(results),
        _nulls(results),
        _by_strength(results),
    ]
    said += [*_picked(results), *_against_the_fine_tune(results)]
    return [*filter(None, said)]


def refinement_remarks(results: dict[str, Any]) -> list[str]:
    """Say what else is to be known of texts and weights."""
    return [f"{sentence(remark)}." for remark in results["remarks"]]


def _verdict(results: dict[str, Any]) -> str:
    """Say in one sentence what the filter is worth: beside scaling, where both forget as much."""
    points = {point["family"]: point for point in results["points"]}
    if not results["finished"] or "has_forgotten" not in results:
        return ""
    if not results["has_forgotten"]:
        of = points["tuned"]
        return (
            f"There is nothing to refine: what the fine-tune forgot, {of['forgotten']:.4f} "
            f"{ends(of, 'forgotten', '{:.4f}')}, is nothing that {results['sizes']['held_out']} texts can show."
        )
    if results["task_metric"] is None:
        return "Whether the filter is worth more than scaling was not measured: that takes task data."
    rows, mean = results["equal_forgetting"]["by_strength"], results["equal_forgetting"]["mean"]
    if mean is None:
        why = (
            "no strength forgets as much as any factor does" if rows else "there are too few texts for a test"
        )
        return f"Whether the filter is worth more than scaling at equal forgetting was not measured: {why}."
    compared = [row for row in rows if row["gain"] is not None]
    said = f"At equal forgetting, against scaling on {results['sizes']['test']} test texts, the filter "
    said += _judged(mean, compared)
    over = "" if len(compared) == 1 else f" over its {len(compared)} strengths"
    said += f"; gain{over}: {interval(mean, 'gain')}, p = {p_of(mean):.2g}"
    if outside := len(rows) - len(compared):
        said += f"; {outside} of {len(rows)} strengths forget more or less than any factor"
    return f"{said}."


def _by_strength(results: dict[str, Any]) -> str:
    rows = (results.get("equal_forgetting") or {"by_strength": []})["by_strength"]
    compared = [row for row in rows if row["gain"] is not None]
    if len(compared) < 2 or not results.get("has_forgotten"):
        return ""
    gains = (f"{row['strength']:g}: {row['gain']:+.3f} (p = {row['p_holm']:.2g})" for row in compared)
    return f"Gain over scaling by strength, with Holm's p: {', '.join(gains)}."


def p_of(mean: dict[str, Any]) -> float:
    """Give the p-value of a mean, corrected for the nulls that are beside; earlier results had none."""
    return float(mean.get("p_holm", mean["p_value"]))


def _judged(mean: dict[str, Any], compared: list[dict[str, Any]]) -> str:
    """Judge the mean over strengths by one test, and what single strengths show against it by Holm's."""
    if p_of(mean) <= LEVEL and mean["gain"]:
        found, other = ("better", "worse") if mean["gain"] > 0 else ("worse", "better")
        sign = -1 if mean["gain"] > 0 else 1
        against = [row for row in compared if row["p_holm"] <= LEVEL and sign * row["gain"] > 0]
        if against:
            return f"is {found} in the mean, and {other} at {_strengths(against)}"
        return f"is {found}"
    alone = {
        word: [row for row in compared if row["p_holm"] <= LEVEL and sign * row["gain"] > 0]
        for word, sign in (("better", 1), ("worse", -1))
    }
    shown = " and ".join(f"{word} at {_strengths(rows)}" for word, rows in alone.items() if rows)
    return f"is {shown}, and in the mean cannot be told from it" if shown else "cannot be told from it"


def _strengths(rows: list[dict[str, Any]]) -> str:
    return "strength " + ", ".join(f"{row['strength']:g}" for row in rows)


def _written(results: dict[str, Any]) -> str:
    written = results["written"]
    if written is None:
        return ""
    what = {"adapter": "an adapter of the same rank", "merged": "a model, with the adapter merged"}
    form = what.get(written["form"], "a model")
    if written["is_tuned"]:
        which = "the fine-tune unchanged"
    elif written.get("family") == "scaling":
        which = f"scaling by {written['strength']:g}"
    else:
        which = f"strength {written['strength']:g}"
    return f"Written: {form}, {which} ({written['why']}); {written['norm_kept']:.0%} of the delta's norm."


def _nulls(results: dict[str, Any]) -> str:
    """Say what is left of the gain beside the same graph on wrong nodes and directions."""
    found = []
    for null in NULLS:
        mean = (results.get("against_nulls") or {}).get(null, {}).get("mean")
        if mean is not None:
            worth = "no difference" if p_of(mean) > LEVEL else "better" if mean["gain"] > 0 else "worse"
            found.append(f"{null} {interval(mean, 'gain')}, p = {p_of(mean):.2g}: {worth}")
    if not found or not results.get("has_forgotten"):
        return ""
    return f"Against its nulls at equal forgetting, in the mean over the strengths: {'; '.join(found)}."


def _at_equal_score(results: dict[str, Any]) -> str:
    """Say what was forgotten where the task is done as well: at the filter's pick, else at the middle strength."""
    rows = [row for row in results.get("equal_score") or () if row["less"] is not None]
    if not rows or not results.get("has_forgotten"):
        return ""
    picked = results["picked"].get("filter", {}).get("strength")
    row = next((row for row in rows if row["strength"] == picked), rows[len(rows) // 2])
    at = f"At equal {task_label(results)} ({row['task']:.3f}, strength {row['strength']:g})"
    if row["ratio"] is not None:
        said = (
            f"{at}, the filter loses {row['filter']:.3f} of the neighbours and scaling {row['scaling']:.3f}: "
            f"{row['ratio']:.2f} {ends(row, 'ratio', '{:.2f}')} of it"
        )
    else:  # of a language model, and where scaling loses nothing
        shown = "forgets {:+.3f} nats" if results["kind"] == "causal" else "loses {:.3f} of the neighbours"
        said = (
            f"{at}, the filter {shown.format(row['filter'])} and scaling {row['scaling']:.3f}; scaling's less the "
            f"filter's: {interval(row, 'less')}"
        )
    if row["reached"] < 1:
        said += (
            f"; in {1 - row['reached']:.0%} of the draws no factor is as good, and the most it forgets counts"
        )
    return f"{said}."


def _picked(results: dict[str, Any]) -> list[str]:
    if results.get("has_forgotten") is False:
        return []
    said = []
    for family, at in results["picked"].items():
        name = sentence(name_of(results, family))
        if at["family"] == "tuned":
            said.append(
                f"{name}: no strength forgot less and stayed within one standard error of the fine-tune on dev."
            )
        else:
            said.append(f"{name}: strength {at['strength']:g} was picked on dev.")
    return said


def _against_the_fine_tune(results: dict[str, Any]) -> list[str]:
    said = []
    for row in results["test"]:
        if row["family"] == "tuned" or row["is_tuned"]:
            continue
        # One test decides: an interval of the bootstrap and an exact test need not agree.
        is_outside = row["difference_low"] > 0 or row["difference_high"] < 0
        shown = row["p_value"] <= LEVEL if "p_value" in row else is_outside
        p_value = f", p = {row['p_value']:.2g}" if "p_value" in row else ""
        said.append(
            f"On test, {name_of(results, row['family'])} {row['strength']:g} differs from the fine-tune by "
            f"{interval(row, 'difference')}{p_value}: "
            + ("a difference that these texts show." if shown else "no difference that these texts can show.")
        )
    return said


def _beside_majority(results: dict[str, Any]) -> str:
    """Say where the fine-tune is not above the answer that looks at no text."""
    for part, rows in (("test", results["test"]), ("dev", results["points"])):
        majority = results.get("majority", {}).get(part)
        tuned = next((row for row in rows if row["family"] == "tuned"), None)
        if majority is None or tuned is None:
            continue
        score = majority.get("task", majority["accuracy"])
        if tuned["task_low"] > score:
            return ""
        return (
            f"On {part}, the fine-tune's {task_label(results)} {interval(tuned, 'task', '{:.3f}')} is not above that "
            f"of always answering {majority['label']}, {score:.3f}; balanced {tuned['balanced_accuracy']:.3f} "
            f"and {majority['balanced_accuracy']:.3f}."
        )
    return ""
