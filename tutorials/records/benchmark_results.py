"""What the record of benchmarks shows, as tables and figures of the manual's pages of speed and complexity.

`python tutorials/records/benchmark_results.py RECORD` prints the tables of any record, as `make bench` does at its end.
"""

import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from paramgraph.display import MIDDLE_GREY, PALETTE, TableView, print_views

RECORD = Path(__file__).with_name("benchmarks.json")
FIGURES = Path(__file__).with_name("figures")
GRID = "cosine_knn"
UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))


def read(path: Path = RECORD) -> dict[str, Any]:
    """Read a record."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def machine_table(record: dict[str, Any]) -> TableView:
    """Say what each group was measured with: how long it took, the load of the machine, and what a core does."""
    rows = tuple(
        (
            name,
            group["about"].rstrip("."),
            f"{group['seconds']:.0f} s",
            " to ".join("-" if load is None else f"{load:.1f}" for load in group["load"]),
            f"{group['rates']['products']['float32'] / 1e9:.0f}, {group['rates']['products']['float64'] / 1e9:.0f}",
            f"{group['rates']['triad'] / 1e9:.1f}",
        )
        for name, group in record["groups"].items()
    )
    header = ("group", "what", "took", "load", "Gflop/s, float32 and float64", "triad, GB/s")
    return TableView(header, rows, words=frozenset({1}))


def machine_part(record: dict[str, Any]) -> str:
    """Say what was measured with, and how: machine and versions in a sentence, then the table of groups."""
    brief = [name for name, group in record["groups"].items() if group["profile"] == "brief"]
    note = f"\n\n**A brief look**, each once, without what takes longest: {', '.join(brief)}."
    return f"{machine_words(record)}{note if brief else ''}\n\n{machine_table(record).to_markdown()}"


def machine_words(record: dict[str, Any]) -> str:
    """Name machine and versions in a sentence."""
    known = record["versions"]
    told = ", ".join(f"{name} {version}" for name, version in known.items() if name != "paramgraph")
    hardware = record["hardware"]
    return f"{hardware['processor']}, {hardware['cores']} cores, {hardware['system']}; {told}."


def part(table: TableView) -> str:
    """Write a table, or that the record has nothing for it."""
    return table.to_markdown() if table.rows else "*Not in this record.*"


def contests(record: dict[str, Any], group: str) -> list[dict[str, Any]]:
    """List the contests of a group; none where it was not measured."""
    found: list[dict[str, Any]] = record["groups"].get(group, {}).get("contests", [])
    return found


def group_table(record: dict[str, Any], group: str) -> TableView:
    """Put each contest of a group beside each of its peers; what stands in the grid is left to it."""
    rows = tuple(
        row for one in contests(record, group) if not _in_grid(one) and one["ratios"] for row in _rows(one)
    )
    header = ("what", "size", "ours", "peer", "its time", "ours / peer", "goal", "remarks")
    return TableView(header, rows, words=frozenset({1, 3, 7}))


def _in_grid(one: dict[str, Any]) -> bool:
    return one["name"] == GRID and set(one["ratios"]) == {"scikit-learn"}


def _rows(one: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    ours = next(iter(one["times"]))
    remarks = _remarks(one)
    for place, (peer, ratio) in enumerate(one["ratios"].items()):
        goal = one["goals"].get(peer)
        first = place == 0
        yield (
            one["name"] if first else "",
            size_words(one["size"]) if first else "",
            time_words(one["times"][ours]["median"]) if first else "",
            peer,
            time_words(one["times"][peer]["median"]),
            ratio_words(ratio),
            goal_words(ratio["median"], goal),
            _own_remark(one, peer, remarks if first else ""),
        )


def _remarks(one: dict[str, Any]) -> str:
    told = []
    if one["floor"]:
        told.append(f"floor {100 * one['floor']['share']:.0f} % of it")
    told += [f"{name}: {why}" for name, why in one["left_out"].items()]
    told += [
        f"{name} {value:.3g}" for name, value in one["checked"].items() if not name.startswith("error of")
    ]
    if one["clock"] == "perf_counter":
        told.append("by the clock")
    return "; ".join(told)


def _own_remark(one: dict[str, Any], peer: str, told: str) -> str:
    error = one["checked"].get(f"error of {peer}")
    return "; ".join(word for word in (told, "" if error is None else f"error {error:.1g}") if word)


def grid_table(record: dict[str, Any]) -> TableView:
    """Lay ratios to scikit-learn out over rows and columns of a matrix; bold where the goal is reached."""
    cells = {
        (one["size"]["nodes"], one["size"]["width"]): (
            one["ratios"]["scikit-learn"],
            one["goals"]["scikit-learn"],
        )
        for one in contests(record, "neighbours")
        if _in_grid(one)
    }
    rows, columns = (sorted({key[side] for key in cells}) for side in (0, 1))
    table = []
    for row in rows:
        line = [f"{row:,}"]
        for column in columns:
            ratio, goal = cells[row, column]
            words = ratio_words(ratio)
            line.append(f"**{words}**" if ratio["median"] <= goal else words)
        table.append((*line, f"{cells[row, columns[0]][1]:g}"))
    return TableView(("rows", *(f"{column:,} columns" for column in columns), "goal"), tuple(table))


def shares_table(record: dict[str, Any]) -> TableView:
    """Put what each rule adds to a step into shares of it."""
    rows = []
    for one in contests(record, "steps"):
        for name, share in one["shares"].items():
            goal = one["goals"].get(name)
            rows.append(
                (
                    name,
                    percent(share["mean"]),
                    _share_words(share),
                    percent(share["least"]),
                    "-" if goal is None else f"{percent(goal)}: {_reached(share['mean'], goal)}",
                )
            )
    header = ("what is added", "mean", "median [quartiles]", "at best", "goal")
    return TableView(header, tuple(rows))


def _share_words(share: dict[str, Any]) -> str:
    if share["turns"] < 3:
        return "-"
    return f"{percent(share['median'])} [{percent(share['low'])}, {percent(share['high'])}]"


def memory_table(record: dict[str, Any]) -> TableView:
    """Put the memory of adapters beside a plain run's."""
    rows = []
    for one in contests(record, "adapters"):
        for name, value in one["checked"].items():
            if name.startswith("goal, "):
                continue
            goal = one["checked"].get(f"goal, {name}")
            shown = f"{value:,.0f} MiB" if name.startswith("MiB") else f"{value:.3f}"
            rows.append((name.removeprefix("MiB of "), shown, goal_words(value, goal)))
        rows += [(name, why, "-") for name, why in one["left_out"].items()]
    return TableView(("what", "of the plain run", "goal"), tuple(rows))


def slopes_table(record: dict[str, Any]) -> TableView:
    """Put measured powers beside those of the theory."""
    rows = tuple(
        (
            one["name"],
            one["over"],
            size_words(one["at"]) or "-",
            f"{one['sizes'][0]:,} to {one['sizes'][-1]:,}",
            f"{one['slope']:.2f} ± {one['error']:.2f}",
            f"{one['last']:.2f}",
            "-" if one["theory"] is None else f"{one['theory']:g}",
        )
        for one in record["slopes"]
    )
    header = ("what", "over", "at", "sizes", "slope", "between the largest two", "theory")
    return TableView(header, rows, words=frozenset({1, 2}))


def goals_words(record: dict[str, Any]) -> str:
    """Count the goals that are reached, and those that are not, by what and beside whom."""
    reached, missed = 0, Counter[str]()
    for group in record["groups"].values():
        for one in group["contests"]:
            for peer, goal in one["goals"].items():
                found = one["shares"][peer]["mean"] if one["shares"] else one["ratios"][peer]["median"]
                if found <= goal:
                    reached += 1
                else:
                    missed[f"{one['name']}: {peer}" if one["shares"] else f"{one['name']} beside {peer}"] += 1
    for one in contests(record, "adapters"):
        for name, goal in one["checked"].items():
            if not name.startswith("goal, "):
                continue
            if one["checked"][name.removeprefix("goal, ")] <= goal:
                reached += 1
            else:
                missed["memory of LoRA r8"] += 1
    told = "; ".join(f"{name} ({number})" for name, number in missed.items())
    text = f"Of {reached + missed.total()} goals {reached} are reached."
    return text + (f" Not reached: {told}." if told else "")


def tables(record: dict[str, Any]) -> list[TableView]:
    """List all tables, for the terminal."""
    titled = [("machine", machine_table(record)), ("neighbours: ratios to scikit-learn", grid_table(record))]
    titled += [(group, group_table(record, group)) for group in record["groups"]]
    titled += [
        ("what is added to a step", shares_table(record)),
        ("memory of LoRA", memory_table(record)),
        ("slopes", slopes_table(record)),
    ]
    return [
        TableView(table.header, table.rows, title, words=table.words) for title, table in titled if table.rows
    ]


def ratio_words(ratio: dict[str, Any]) -> str:
    """Write the median with its quartiles; without them where the peer was timed once."""
    text = number(ratio["median"])
    return text if ratio["turns"] < 3 else f"{text} [{number(ratio['low'])}, {number(ratio['high'])}]"


def number(value: float) -> str:
    """Write a ratio in two digits after the point, small ones in two digits."""
    return f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def goal_words(value: float, goal: float | None) -> str:
    """Write a goal and whether it is reached."""
    return "-" if goal is None else f"{goal:.3g}: {_reached(value, goal)}"


def _reached(value: float, goal: float) -> str:
    return "yes" if value <= goal else "no"


def percent(value: float) -> str:
    """Write a share in percent."""
    return f"{100 * value:.1f} %"


def size_words(size: dict[str, int]) -> str:
    """Write sizes with their names."""
    return ", ".join(f"{name} {value:,}" for name, value in size.items())


def time_words(seconds: float) -> str:
    """Write a time in the unit that suits it."""
    unit, name = next((pair for pair in UNITS if seconds >= pair[0]), UNITS[-1])
    return f"{seconds / unit:.3g} {name}"


def ratios_figure(record: dict[str, Any]) -> Figure:
    """Draw the ratio to each peer on a logarithmic axis, a line for each contest: left of 1 this package is faster."""
    lines = [
        (f"{one['name']}, {size_words(one['size'])}", one)
        for group in ("eigenpairs", "filters", "neighbours", "comparisons")
        for one in contests(record, group)
        if one["ratios"]
    ]
    figure = Figure(figsize=(9.6, 1.2 + 0.22 * len(lines)), layout="constrained")
    axes = figure.subplots()
    peers = sorted({peer for _, one in lines for peer in one["ratios"]})
    colours = {peer: PALETTE[place % len(PALETTE)] for place, peer in enumerate(peers)}
    marks = "osD^vP*X"
    for place, (_, one) in enumerate(lines):
        for peer, ratio in one["ratios"].items():
            axes.plot([ratio["low"], ratio["high"]], [place, place], color=colours[peer], linewidth=1.2)
            axes.plot(
                ratio["median"],
                place,
                marks[peers.index(peer) // len(PALETTE) % len(marks)],
                color=colours[peer],
                markersize=4.5,
            )
    axes.axvline(1.0, color=MIDDLE_GREY, linewidth=1)
    axes.set_xscale("log")
    axes.set_yticks(range(len(lines)), [name for name, _ in lines], fontsize=7)
    axes.set_ylim(len(lines) - 0.5, -0.5)
    axes.set_xlabel("time of this package over the peer's, median and quartiles")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    handles = [
        mpl.lines.Line2D(
            [],
            [],
            linestyle="",
            marker=marks[place // len(PALETTE) % len(marks)],
            color=colours[peer],
            label=peer,
        )
        for place, peer in enumerate(peers)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=5, frameon=False, fontsize=8)
    return figure


def slopes_figure(record: dict[str, Any]) -> Figure:
    """Draw time over size for everything that was measured at three sizes and more, a panel for each size."""
    overs = list(dict.fromkeys(one["over"] for one in record["slopes"]))
    figure = Figure(figsize=(3.2 * max(len(overs), 1), 3.6), layout="constrained")
    panels = figure.subplots(1, max(len(overs), 1), squeeze=False)[0]
    for axes, over in zip(panels, overs, strict=False):
        chosen = [one for one in record["slopes"] if one["over"] == over]
        for place, one in enumerate(chosen):
            label = f"{one['name']}: {one['slope']:.2f}"
            axes.plot(
                one["sizes"],
                one["seconds"],
                "os^Dv"[place // len(PALETTE) % 5] + "-",
                color=PALETTE[place % len(PALETTE)],
                markersize=3.5,
                linewidth=1.2,
                label=label,
            )
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.xaxis.set_minor_formatter(mpl.ticker.NullFormatter())  # between decades they overlap
        axes.set_xlabel(over)
        axes.legend(frameon=False, fontsize=6)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    panels[0].set_ylabel("seconds")
    return figure


def write_figures(folder: Path = FIGURES) -> None:
    """Write both figures as SVG on white, which reads in a light and in a dark theme."""
    record = read()
    with mpl.rc_context({"svg.hashsalt": "benchmarks"}):
        for name, figure in (("speed", ratios_figure(record)), ("slopes", slopes_figure(record))):
            figure.savefig(
                folder / f"{name}.svg", facecolor="white", metadata={"Date": None, "Creator": None}
            )


if __name__ == "__main__":
    print_views(tables(read(Path(sys.argv[1]) if len(sys.argv) > 1 else RECORD)))
