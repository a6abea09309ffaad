"""The front of a refinement as a figure: how well the task is done, over what was forgotten."""

from html import escape
from typing import Any

from paramgraph.display import INK, PALETTE, FigureView, new_figure, themed_svg
from spectral_opt.sweep._words import NULLS, forgetting_label, name_of, task_label

# Scaling and filter in colour, nulls in the grey of the palette.
COLOURS = {"filter": 0, "scaling": 1, "permuted": 6, "rotated": 6}
STYLES = {"filter": "-", "scaling": "-", "permuted": "--", "rotated": ":"}


def front_figures(results: dict[str, Any]) -> list[FigureView]:
    """Draw the front; of an encoder also over the neighbours that were lost."""
    task = task_label(results)
    reading = f"{'Up' if results['higher_is_better'] else 'Down'} and to the left is better" if task else ""
    part = _part(results)
    caption = (
        f"{reading or 'Down is better'}; a point is a strength, from the fine-tune to the base, and says its numbers "
        f"where the pointer rests on it; circled: what was written. Intervals are in the tables. Data: results.json."
    )
    if not task:
        axes = (
            "norm_kept",
            "norm of the delta that is kept",
            "forgotten",
            f"forgotten: {forgetting_label(results)}",
        )
        return [_figure(results, "Forgetting against the norm kept", "front", *axes, caption)]
    score = (part, f"{'test' if part == 'test' else 'dev'} {task}")
    found = [
        _figure(
            results,
            "The front: task against forgetting",
            "front",
            "forgotten",
            f"forgotten: {forgetting_label(results)}",
            *score,
            caption,
        )
    ]
    if results["kind"] != "causal":
        lost = "share of the 10 nearest neighbours that are lost"
        found.append(
            _figure(results, "The same over lost neighbours", "lost", "lost", lost, *score, f"{reading}.")
        )
    return found


def _part(results: dict[str, Any]) -> str:
    return "test" if any(point.get("test") is not None for point in results["points"]) else "task"


def _figure(
    results: dict[str, Any], title: str, name: str, x: str, x_label: str, y: str, y_label: str, caption: str
) -> FigureView:
    narrow, wide = (
        _draw(results, f"{name}{suffix}", x, x_label, y, y_label, width)
        for suffix, width in (("", 4.6), ("-wide", 9.2))
    )
    return FigureView(title, narrow, caption, wide_svg=wide)


def _draw(
    results: dict[str, Any], name: str, x: str, x_label: str, y: str, y_label: str, width: float
) -> str:
    figure = new_figure(width, 3.6 if width < 6 else 4.4)
    axes = figure.axes[0]
    points = [point | {"lost": 1 - (point["neighbours_kept"] or 0)} for point in results["points"]]
    ends = {point["family"]: point for point in points if point["family"] in ("base", "tuned")}
    titles: dict[str, str] = {}
    written = results["written"] or {}
    for family, colour in COLOURS.items():
        own = sorted((one for one in points if one["family"] == family), key=lambda one: one["strength"])
        if not own:
            continue
        line = own if family != "scaling" else own[::-1]
        line = [ends["tuned"], *line, *([ends["base"]] if family == "scaling" else [])]
        shade = PALETTE[colour]
        axes.plot(
            [one[x] for one in line],
            [one[y] for one in line],
            color=shade,
            linestyle=STYLES[family],
            linewidth=1.2 if family in NULLS else 2,
            zorder=2 if family in NULLS else 3,
        )
        for place, one in enumerate(own):
            key = f"{family}-{place}"
            titles[key] = _hover(results, one)
            size = 14 if family in NULLS else 28
            axes.scatter([one[x]], [one[y]], s=size, color=shade, zorder=4, gid=key)
            if family not in NULLS:
                offset = (0, 6) if family == "filter" else (0, -12)
                axes.annotate(
                    f"{one['strength']:g}",
                    (one[x], one[y]),
                    offset,
                    textcoords="offset points",
                    ha="center",
                    fontsize=7.5,
                    color=shade,
                )
            if (family, one["strength"]) == (written.get("family"), written.get("strength")):
                axes.scatter([one[x]], [one[y]], s=110, facecolors="none", edgecolors=INK, zorder=5)
        _label(axes, results, family, line, x, y, shade)
    for family, one in ends.items():
        titles[family] = _hover(results, one)
        axes.scatter([one[x]], [one[y]], s=40, color=INK, marker="D", zorder=5, gid=family)
        if family == written.get("family"):
            axes.scatter([one[x]], [one[y]], s=140, facecolors="none", edgecolors=INK, zorder=5)
        is_left = one[x] <= min(other[x] for other in ends.values())
        axes.annotate(
            "base" if family == "base" else "fine-tune",
            (one[x], one[y]),
            (7 if is_left else -7, -14),
            textcoords="offset points",
            ha="left" if is_left else "right",
            fontweight="bold",
        )
    axes.margins(0.06, 0.12)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    svg = themed_svg(figure, name)
    for key, text in titles.items():
        opened = f'<g id="{name}-{key}">'
        svg = svg.replace(opened, f"{opened}<title>{escape(text)}</title>")
    return svg


def _label(axes: Any, results: dict[str, Any], family: str, line: Any, x: str, y: str, shade: str) -> None:
    """Write the family's name beside its line, at the middle point; the nulls' below, where lines are lower."""
    if family == "rotated" and any(one["family"] == "permuted" for one in results["points"]):
        return  # one label for both
    others = any(one["family"] == "rotated" for one in results["points"])
    words = name_of(results, family)
    if family in NULLS:
        words = "nulls: permuted, rotated" if others and family == "permuted" else words
    place = line[{"filter": len(line) // 2, "scaling": len(line) // 2}.get(family, (2 * len(line)) // 3)]
    is_up = family == "filter"
    axes.annotate(
        words,
        (place[x], place[y]),
        (-8, 18) if is_up else (10, -24 if family == "scaling" else -36),
        textcoords="offset points",
        ha="right" if is_up else "left",
        color=shade,
        fontweight="bold",
    )


def _hover(results: dict[str, Any], point: dict[str, Any]) -> str:
    name = name_of(results, point["family"])
    if point["family"] not in ("base", "tuned"):
        name += f", {'factor' if point['family'] == 'scaling' else 'strength'} {point['strength']:g}"
    said = [f"{name}: forgotten {point['forgotten']:.4f}"]
    if point["neighbours_kept"] is not None:
        said.append(f"neighbours lost {1 - point['neighbours_kept']:.3f}")
    for part in ("test", "task"):
        if point.get(part) is not None:
            said.append(f"{'dev' if part == 'task' else part} {task_label(results)} {point[part]:.3f}")
    return ", ".join(said)
