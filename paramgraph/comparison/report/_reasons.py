"""What was left out of a comparison, and what failed in a part of it."""

from paramgraph.comparison.report._values import Plain


def partial_failures(result: Plain) -> list[Plain]:
    """List the failures on layers that were measured all the same; the others are left out as a whole."""
    whole = {one["name"] for one in result.get("left_out") or ()}
    return [one for one in result.get("failures") or () if one["layer"] not in whole]


def coverage_lines(result: Plain) -> list[str]:
    """Say how much of the model is in nodes, and warn where that is not nearly all."""
    covered = (result.get("setting") or {}).get("coverage") or {}
    told, warning = covered.get("told"), covered.get("warning")
    return [f"{told}."] * bool(told) + [f"Warning: {warning}."] * bool(warning)
