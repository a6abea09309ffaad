"""The front of a refinement as a figure: how well the task is done, over what was forgotten."""

from html import escape
from typing import TYPE_CHECKING, Any

from paramgraph.display import INK, PALETTE, FigureView, new_figure, themed_svg
from spectral_opt.sweep._words import NULLS, forgetting_label, name_of, task_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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
        labelled: list[float] = []
        apart = 0.05 * (ends["tuned"][x] - ends["base"][x])
        for place, one in enumerate(own):
            key = f"{family}-{place}"
            titles[key] = _hover(results, one)
            axes.scatter([one[x]], [one[y]], s=14 if family in NULLS else 28, color=shade, zorder=4, gid=key)
            if (family, one["strength"]) == (written.get("family"), written.get("strength")):
                axes.scatter([one[x]], [one[y]], s=110, facecolors="none", edgecolors=INK, zorder=5)
            if family in NULLS or any(abs(one[x] - other) < apart for other in labelled):
                continue
            labelled.append(one[x])
            above = (family == "filter") == results["higher_is_better"]
            _write(axes, f"{one['strength']:.2g}", one[x], one[y], (0, 8 if above else -9), shade, size=8)
        _name(axes, results, family, own, x, y, shade)
    for family, one in ends.items():
        titles[family] = _hover(results, one)
        axes.scatter([one[x]], [one[y]], s=40, color=INK, marker="D", zorder=5, gid=family)
        if family == written.get("family"):
            axes.scatter([one[x]], [one[y]], s=140, facecolors="none", edgecolors=INK, zorder=5)
        _write(axes, name_of(results, family), one[x], one[y], (8, 0), INK, across="left", weight="bold")
    axes.margins(0.06, 0.12)
    low, high = axes.get_xlim()
    axes.set_xlim(
        low, high + (0.16 if width < 6 else 0.06) * (high - low)
    )  # room for the name of the last state
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    svg = themed_svg(figure, name)
    for key, text in titles.items():
        opened = f'<g id="{name}-{key}">'
        svg = svg.replace(opened, f"{opened}<title>{escape(text)}</title>")
    return svg


def _name(
    axes: "Axes", results: dict[str, Any], family: str, own: list[dict[str, Any]], x: str, y: str, shade: str
) -> None:
    """Write a family's name beside its line: the filter's on the good side, those of the others on the bad one."""
    good = 1 if results["higher_is_better"] else -1
    if family == "filter":
        at = own[0]
        _write(axes, name_of(results, family), at[x], at[y], (0, 22 * good), shade, weight="bold")
    elif family == "scaling":
        at = own[len(own) // 2]
        _write(
            axes,
            name_of(results, family),
            at[x],
            at[y],
            (10, -22 * good),
            shade,
            across="left",
            weight="bold",
        )
    elif not (family == "rotated" and any(one["family"] == "permuted" for one in results["points"])):
        both = family == "permuted" and any(one["family"] == "rotated" for one in results["points"])
        words = "nulls: permuted, rotated" if both else name_of(results, family)
        at = own[len(own) // 2]
        _write(axes, words, at[x], at[y], (8, -36 * good), shade, across="left", weight="bold")


def _write(
    axes: "Axes",
    words: str,
    x: float,
    y: float,
    offset: tuple[float, float],
    colour: str,
    *,
    across: str = "center",
    weight: str = "normal",
    size: float = 9.5,
) -> None:
    axes.annotate(
        words,
        (x, y),
        offset,
        textcoords="offset points",
        ha=across,
        va="center",
        color=colour,
        fontweight=weight,
        fontsize=size,
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
