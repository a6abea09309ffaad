"""A study's page: conclusion and figures first, numbers and text behind; the same as Markdown."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from paramgraph.display import Section, TableView, Term, render_page
from spectral_opt.study import Verdict
from spectral_opt.study.report._absences import absences, cells_table
from spectral_opt.study.report._convergence import convergence_table
from spectral_opt.study.report._costs import bands_table, cost_table
from spectral_opt.study.report._forest import forest_figures
from spectral_opt.study.report._fronts import front_figures
from spectral_opt.study.report._learning import learning_figures
from spectral_opt.study.report._marks import marks_of_parts
from spectral_opt.study.report._overview import Overview
from spectral_opt.study.report._results_table import other_tasks_table, results_tables
from spectral_opt.study.report._stability import rate_table, stability_table
from spectral_opt.study.report._tuning import tuning_remarks, tuning_tables
from spectral_opt.study.report._verdicts import comparisons_table, verdict_sentences, verdicts_table

VERDICTS, RESULTS, ABSENCES = "Verdicts", "All results", "What is not in it"
TUNING_ALONE = (
    "There are runs of the stage tuning alone: what is shown was scored on dev texts, and claims nothing."
)
SCALING = (
    "A line is the mean over seeds of a method's own scaling curve: from its state to the start, the whole change "
    "times a factor. The square is the start (the pretrained model, of classes under a linear probe), the diamond "
    "the plain fine-tune. In colour are those that a hypothesis names, then those that come first in the plan; thin "
    "lines are the plain fine-tune's seeds; controls are grey."
)


@dataclass(frozen=True)
class StudyReport:
    """What a study says: a sentence, parts with tables and figures, and what ran where."""

    title: str
    lead: str
    sections: tuple[Section, ...]
    footer: tuple[tuple[str, str], ...]

    @property
    def main_tables(self) -> list[TableView]:
        """What the terminal shows: verdicts, results, and the cells that there are."""
        parts = {section.title: section for section in self.sections}
        return [parts[name].tables[0] for name in (VERDICTS, RESULTS, ABSENCES) if name in parts]

    def to_html(self) -> str:
        """Render one self-contained page."""
        return render_page(self.title, self.lead, self.sections, self.footer, interactive=True)

    def to_markdown(self) -> str:
        """Write the same without figures."""
        lines = [f"# {self.title}", self.lead]
        for section in self.sections:
            if not (section.points or section.tables or section.terms):
                continue
            lines += [f"## {section.title}", *section.paragraphs]
            lines += ["\n".join(f"- {point}" for point in section.points)] if section.points else []
            for table in section.tables:
                lines += [table.to_markdown(), f"*{table.caption}.*"]
            if section.terms:
                lines.append("\n".join(f"- **{term.name}**: {term.meaning}" for term in section.terms))
        lines.append("\n".join(f"- {name}: {value}" for name, value in self.footer))
        return "\n\n".join(lines) + "\n"


def make_report(overview: Overview, verdicts: Sequence[Verdict]) -> StudyReport:
    """Put a study's verdicts, figures and tables together."""
    return StudyReport(
        overview.plan.title,
        _lead(overview, verdicts),
        tuple(_sections(overview, verdicts)),
        tuple(_footer(overview)),
    )


def _lead(overview: Overview, verdicts: Sequence[Verdict]) -> str:
    """Say in a sentence how much of the study there is, and what came out."""
    done, planned = len(overview.records), overview.planned
    said = f"{done:,} of {planned:,} cells" + ("." if overview.is_complete else ": a partial study.")
    if verdicts:
        counts = Counter[str](verdict.verdict for verdict in verdicts)
        kinds = ("confirmed", "refuted", "undecided")
        said += " Hypotheses: " + ", ".join(f"{counts[kind]} {kind}" for kind in kinds) + "."
    if overview.shown and all(panel.stage == "tuning" for panel in overview.shown):
        said += f" {TUNING_ALONE}"
    return said


def _sections(overview: Overview, verdicts: Sequence[Verdict]) -> list[Section]:
    """List the parts of the page; one of which there is nothing is left out."""
    marks = marks_of_parts(overview)
    found = []
    if verdicts:
        found.append(
            Section(VERDICTS, points=verdict_sentences(verdicts), tables=(verdicts_table(verdicts),))
        )
    tables = (cost_table(overview), stability_table(overview), rate_table(overview), bands_table(overview))
    found += [
        Section("Score against retention", (SCALING,), figures=front_figures(overview, marks)),
        Section("Beside the plain fine-tune", figures=forest_figures(overview, marks)),
        Section(
            "Learning curves",
            tables=_filled(convergence_table(overview)),
            figures=learning_figures(overview, marks),
        ),
        Section(RESULTS, tables=_filled(*results_tables(overview), other_tasks_table(overview))),
        Section("Each comparison of the verdicts", tables=_filled(comparisons_table(verdicts))),
        Section("Cost, stability and perturbation", tables=_filled(*tables)),
        Section("Tuning", points=tuning_remarks(overview), tables=_filled(*tuning_tables(overview))),
    ]
    found = [one for one in found if one.points or one.tables or one.figures]
    found.append(Section(ABSENCES, points=absences(overview), tables=(cells_table(overview),)))
    terms = _terms(overview)
    return [*found, *([Section("Methods", terms=terms)] if terms else [])]


def _footer(overview: Overview) -> list[tuple[str, str]]:
    """Name model, versions and hardware, each combination that records have."""
    records = list(overview.records.values())
    told = [("model", overview.plan.model)]
    for name in ("versions", "hardware"):
        kinds = dict.fromkeys(
            ", ".join(f"{key} {value}" for key, value in getattr(record, name).items()) for record in records
        )
        told += [(name, kind) for kind in kinds]
    return [*told, ("numbers", "results.csv: one row a number; records.csv: one row a run")]


def _filled(*tables: TableView | None) -> tuple[TableView, ...]:
    return tuple(table for table in tables if table is not None and table.rows)


def _terms(overview: Overview) -> list[Term]:
    found: dict[str, Term] = {}
    for own in overview.series.values():
        for series in own:
            for part in series.parts:
                meaning = f"{part.title}. {part.description}" + (f" {part.paper}" if part.paper else "")
                found.setdefault(part.name, Term(part.name, meaning))
    return list(found.values())
