"""Writing a report: a page, the same as Markdown, and the numbers."""

from pathlib import Path

from paramgraph.display import TableView
from paramgraph.whole_files import write_text
from spectral_opt.study import FoundRecords, StudyPlan, judge, write_rows
from spectral_opt.study.report._overview import Overview
from spectral_opt.study.report._rows import NUMBER_COLUMNS, RUN_COLUMNS, number_rows, run_rows
from spectral_opt.study.report.page import make_report


def write_report(folder: Path, plan: StudyPlan, found: FoundRecords) -> list[TableView]:
    """Write report.html, report.md, results.csv and records.csv into `folder`/report; return the main tables.

    Each file is whole or not there. ImportError has the pip line where jinja2 or matplotlib is missing.
    """
    overview = Overview(plan, found.records, found.refused)
    report = make_report(overview, judge(plan, found.records.values()))
    place = folder / "report"
    place.mkdir(parents=True, exist_ok=True)
    write_text(place / "report.html", report.to_html())
    write_text(place / "report.md", report.to_markdown())
    write_rows(place / "results.csv", number_rows(overview), NUMBER_COLUMNS)
    write_rows(place / "records.csv", run_rows(overview), RUN_COLUMNS)
    return report.main_tables
