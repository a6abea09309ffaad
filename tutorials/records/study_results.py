"""What the records of both studies show, as the tables and figures of the manual's page of results.

All of it comes from committed records alone, in study/ and language_models/: study.yaml, and a file for each cell.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl

from paramgraph.display import TableView, new_figure
from spectral_opt.study import CAUSAL_LM, judge, read_records, stored_plan
from spectral_opt.study.report import (
    Overview,
    Series,
    baseline_of,
    cost_table,
    draw_front,
    final_state,
    lost_cells,
    marks_of_parts,
    mean_interval,
    rate_table,
    results_table as states_table,
    verdicts_table,
)
from spectral_opt.study.statistics import Measure

RECORDS = Path(__file__).with_name("study")
LANGUAGE_MODELS = Path(__file__).with_name("language_models")
FIGURES = Path(__file__).with_name("figures")
# The parts that the main table and the front are of: tasks differ in their number of shots, which a part has one of.
MAIN = ("posthoc", "posthoc_sotu", "posthoc_20")


@dataclass(frozen=True)
class Question:
    """A measure beside AdamW, in the parts that it is told of, and what a reader is told below its table."""

    parts: tuple[str, ...]
    measure: Measure | None  # what is lost at equal score, if none
    caption: str


AT_ADAMW = Question(
    MAIN,
    None,
    "Neighbours lost over those that scaling AdamW's change loses at its AUC - .01: mean, 95 % interval; of a "
    "filter, which has one strength, on a straight line from the fine-tune to it. (n): so many seeds count; one is "
    "left out where the start has that score already, or where neither side ever has it",
)
# With further seeds, on which the measure at a filter's own score is tested (see hypotheses S1 to S5).
AT_OWN = Question(
    (*MAIN, "posthoc_again"),
    Measure("scaling_ratio", score="auc"),
    "The same at the AUC that each state has itself, so that no line from the fine-tune decides it; the median "
    "where a seed's state has an AUC that no scaling of AdamW's change has, and 0 where half or more have",
)
TRAINED = ("full", "fewshot", "fewshot_20")
CONVERGING = (*TRAINED, "convergence", "convergence_beside")
ACCURACY = Question(
    CONVERGING,
    Measure("score_difference"),
    "Accuracy less that of AdamW, seed by seed: mean, 95 % interval; methods, options and nulls as tuned on dev; (n) "
    "as above",
)
MOVED = Question(
    ("full",),
    Measure("perturbation_ratio", level=-0.01),
    "Relative distance from the start over AdamW's, each on its own scaling curve at AdamW's accuracy - .01; (n) as "
    "above",
)
STEPS = Question(
    CONVERGING,
    Measure("steps_ratio"),
    "Steps to AdamW's best smoothed loss on dev over those that AdamW takes; the median where a run never has that "
    "loss, and ∞ where most have not; (n) as above",
)
SECONDS = Question(
    CONVERGING,
    Measure("time_ratio", until="target"),
    "The same in seconds of the processor, graphs counted; what methods of a seed share is counted for the first",
)
# Of methods that no hypothesis is of, each once: the columns of their table.
APPENDIX = "appendix"
BESIDE_ADAMW = {
    "accuracy less AdamW's": Measure("score_difference"),
    "lost, over scaling's at its AUC": AT_OWN.measure,
}
# Of the language model: what is trained, and what is refined, with more factors; of each task.
LANGUAGE_TRAINED = ("confirm", "confirm_addresses")
LANGUAGE_REFINED = ("refined", "refined_addresses")
AT_OWN_LOSS = Question(
    (*LANGUAGE_TRAINED, *LANGUAGE_REFINED),
    Measure("scaling_difference", score="log_likelihood"),
    "What a state has lost on three other texts, less what scaling AdamW's change has lost where it has the state's "
    "own loss on the task: nats a token, mean, 95 % interval; (n): so many seeds count; the median where no scaling "
    "has a seed's loss, and -∞ where that is so of most",
)
STRENGTHS = Question(
    ("strengths_addresses",),
    AT_OWN_LOSS.measure,
    "The same of other strengths, with the tuning seed and on its selection text",
)
SEQUENCE = "sequence"
STABILITY = "stability"
NOTHING_YET = (
    "Its confirmation is not recorded yet, only what tunes it. The table, the front, and each hypothesis as confirmed, "
    "refuted or undecided will stand here, made from committed records alone."
)
# In place of numbers, which would be read as if they decided something.
UNFINISHED = "not all cells have run"
FRONT = "![AUC of the task over the share of neighbours lost, by task](../records/figures/study.svg)"
LANGUAGE_FRONT = (
    "![log-likelihood of the task over the rise of a token's loss on other texts, by task]"
    "(../records/figures/language_models.svg)"
)
# In inches, of a panel.
WIDTH, HEIGHT = 5.6, 3.8


def read(folder: Path = RECORDS) -> Overview | None:
    """Read the study's plan and records; None where there is none."""
    plan = stored_plan(folder)
    if plan is None:
        return None
    found = read_records(folder, plan)
    return Overview(plan, found.records, found.refused)


def hypotheses_table(overview: Overview) -> TableView:
    """Put each claim between its verdict and its numbers: three columns are read on a phone too."""
    verdicts = judge(overview.plan, overview.records.values())
    full = verdicts_table(verdicts)
    rows = [
        (
            f"{name} {verdict}",
            claim,
            UNFINISHED if one.missing else f"{estimate} {between}; n {n}, p {p}, {detectable}",
        )
        for one, (name, verdict, estimate, between, n, p, detectable, claim) in zip(
            verdicts, full.rows, strict=True
        )
    ]
    return TableView(("verdict", "claim", "estimate, 95 %; n, p, detectable"), tuple(rows), full.caption)


def results_table(overview: Overview, question: Question = AT_ADAMW) -> TableView:
    """Put what each method is beside AdamW side by side, a column for each task."""
    shown = overview.tuning | overview.shown
    panels = {panel: own for panel, own in shown.items() if panel.part in question.parts}
    panels = {panel: own for panel, own in panels.items() if any(series.finished for series in own)}
    # One of which every run diverged has its row too: it is infinitely worse.
    names = {
        series.name: series.is_null
        for own in panels.values()
        for series in own
        if series is not baseline_of(own) and series.is_trained and series.runs
    }
    rows = []
    for name in names:
        cells = []
        for own in panels.values():
            series = next((one for one in own if one.name == name and one.runs), None)
            shown = lost_cells(series, baseline_of(own), question.measure) if series is not None else []
            cells.append(" ".join(shown))
        rows.append((name, *cells))
    header, seen = ["method"], set[tuple[str, int]]()
    for panel in panels:
        of_part = f" ({panel.part})" if (panel.task, panel.shots) in seen else ""
        seen.add((panel.task, panel.shots))
        header.append(f"{panel.task}, {panel.shots} {panel.words.shots_of}{of_part}")
    controls = frozenset(place for place, is_null in enumerate(names.values()) if is_null)
    return TableView(tuple(header), tuple(rows), question.caption, controls)


def scaling_table(overview: Overview) -> TableView:
    """Put what is left of AdamW's change below each other: the loss on each task, and what is lost."""
    columns, told = list[str](), dict[float, list[str]]()
    for panel, own in overview.shown.items():
        adamw = baseline_of(own)
        if panel.part not in LANGUAGE_REFINED or adamw is None or not adamw.finished:
            continue
        columns += [f"{panel.task}: loss", f"{panel.task}: lost"]
        states = [record.metrics["points"] for record in adamw.finished.values()]
        for points in zip(*states, strict=True):  # one factor, over seeds
            cells = (_between([float(point[measure]) for point in points]) for measure in ("loss", "lost"))
            told.setdefault(points[0]["factor"], []).extend(cells)
    return TableView(
        ("factor", *columns),
        tuple((f"{factor:g}", *cells) for factor, cells in told.items()),
        "AdamW's change times a factor: the loss of a token on the task, and by how much it has risen on other texts, "
        "nats; mean, 95 % interval over seeds",
    )


def appendix_table(overview: Overview) -> TableView:
    """Put each of the other methods beside AdamW: what its score is, and what it forgets for it."""
    finished = _finished_of(overview, APPENDIX)
    rows, controls = list[tuple[str, ...]](), set[int]()
    for series in finished:
        baseline = baseline_of(overview.shown[series.panel])
        if series is baseline or not series.is_trained:
            continue
        if series.is_null:
            controls.add(len(rows))
        cells = (lost_cells(series, baseline, measure) for measure in BESIDE_ADAMW.values())
        rows.append((series.name, *(" ".join(own) for own in cells)))
    return TableView(
        ("method", *BESIDE_ADAMW),
        tuple(rows),
        f"All other methods and controls once, on film reviews, 500 a class, {_seeds(finished)}, at one setting that "
        "nobody tuned: leads, no claims. Mean, 95 % interval; the ratio as in the table at each state's own AUC",
        frozenset(controls),
    )


def sequence_table(overview: Overview) -> TableView:
    """Put what is left of a first task beside what is learned of a second one, below what the start has of both."""
    finished = _finished_of(overview, SEQUENCE)
    told = {one.name: [final_state(record) for record in one.finished.values()] for one in finished}
    starts = {seed: record.metrics["start"] for one in finished for seed, record in one.finished.items()}
    rows = []
    for name, states in {"before the second task": list(starts.values()), **told}.items():
        learned = [float(state["accuracy"]) for state in states]
        left = [float(accuracy) for state in states for accuracy in state["earlier"].values()]
        rows.append((name, _between(learned), _between(left)))
    return TableView(
        ("method", "accuracy on addresses by era", "left on film reviews"),
        tuple(rows) if finished else (),
        "Film reviews first, then addresses by era, 300 a class: accuracy on both, the first through its own head, the "
        f"second before it is learned by a linear probe. Mean, 95 % interval, {_seeds(finished)}, at one setting that "
        "nobody tuned",
    )


def stability_table(overview: Overview) -> TableView:
    """Put what each method loses at three times the rate below each other."""
    own = {key: record for key, record in overview.records.items() if record.part == STABILITY}
    return rate_table(Overview(overview.plan, own, {}))


def _finished_of(overview: Overview, part: str) -> list[Series]:
    shown = (own for panel, own in overview.shown.items() if panel.part == part)
    return [series for own in shown for series in own if series.finished]


def _seeds(finished: Sequence[Series]) -> str:
    """Count the seeds of a table's rows: an unfinished part has rows of fewer."""
    counts = sorted({len(series.finished) for series in finished})
    return (
        f"{' to '.join(str(count) for count in dict.fromkeys((counts[0], counts[-1])))} seeds"
        if counts
        else "no seeds"
    )


def _between(values: Sequence[float]) -> str:
    mean, low, high = (float(end) for end in mean_interval(values))
    return f"{mean:.3f} [{low:.3f}, {high:.3f}]"


def is_confirming(overview: Overview | None) -> bool:
    """Tell whether anything is recorded of what hypotheses are judged by."""
    return overview is not None and any(one.stage == "confirmation" for one in overview.records.values())


def results_part(overview: Overview | None) -> str:
    """Write what the page of results says of the study."""
    if overview is None or not is_confirming(overview):
        return NOTHING_YET
    said = _verdicts(overview)
    for question in (AT_ADAMW, AT_OWN, ACCURACY, MOVED, STEPS, SECONDS):
        if (table := results_table(overview, question)).rows:
            said += [FRONT] if question is AT_ADAMW else []
            said += _told(table)
    for table in (appendix_table(overview), sequence_table(overview), stability_table(overview)):
        said += _told(table)
    return "\n\n".join(said)


def language_part(overview: Overview | None) -> str:
    """Write what the page of results says of the language model."""
    if overview is None or not is_confirming(overview):
        return NOTHING_YET
    of_all = (
        results_table(overview, AT_OWN_LOSS),
        results_table(overview, STRENGTHS),
        scaling_table(overview),
        states_table(overview, CAUSAL_LM),
        cost_table(overview),
    )
    is_drawn = any(_finished_of(overview, part) for part in LANGUAGE_REFINED)
    said = [LANGUAGE_FRONT] if is_drawn else []
    said += [line for table in of_all for line in _told(table)]
    return "\n\n".join([*_verdicts(overview), *said])


def _verdicts(overview: Overview) -> list[str]:
    done = f"{len(overview.records):,} of {overview.planned:,} cells are recorded."
    return [done, *_told(hypotheses_table(overview))]


def _told(table: TableView) -> list[str]:
    return [table.to_markdown(), f"*{table.caption}.*"] if table.rows else []


def write_figure(
    overview: Overview, folder: Path = FIGURES, parts: Sequence[str] = MAIN, name: str = "study"
) -> Path | None:
    """Draw the front of parts, a panel for each task, as SVG on white; None where nothing of them is finished."""
    panels = {
        panel: own
        for panel, own in overview.shown.items()
        if panel.part in parts and any(series.finished for series in own)
    }
    if not panels:
        return None
    figure = new_figure(WIDTH * len(panels), HEIGHT, columns=len(panels))
    marks = marks_of_parts(overview)
    for axes, (panel, own) in zip(figure.axes, panels.items(), strict=True):
        draw_front(axes, own, marks, panel.words.score, 0.8 * HEIGHT)
        axes.set_title(f"{panel.task}, {panel.shots} {panel.words.shots_of}", fontsize=10, loc="left")
    path = folder / f"{name}.svg"
    with mpl.rc_context({"svg.hashsalt": "study"}):
        figure.savefig(path, facecolor="white", metadata={"Date": None, "Creator": None})
    return path


def write_figures(overview: Overview, folder: Path = FIGURES) -> None:
    """Draw the front of the main parts, and one of each other part that confirms."""
    write_figure(overview, folder)
    for one in overview.plan.parts:
        if one.stage == "confirmation" and one.name not in MAIN:
            write_figure(overview, folder, (one.name,), f"study_{one.name}")
