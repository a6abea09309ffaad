"""What a report of a study has, whatever there is of the study."""

import csv
import math
import re
from dataclasses import replace

import pytest

from spectral_opt.study import AfterGrid, FoundRecords, MethodGrid
from spectral_opt.study.report import write_report

from helpers.study_records import diverged, synthetic_plan, synthetic_records

CLAIM = {
    "id": "H1",
    "claim": "The product graph loses less than scaling does",
    "tests": [
        {
            "kind": "lost_ratio",
            "part": "posthoc",
            "methods": ["adamw+product"],
            "score": "auc",
            "level": -0.01,
            "below": 0.85,
        }
    ],
}
PLAN = synthetic_plan(
    3,
    tasks=("rotten_tomatoes",),
    methods=("linear_probe", "adamw", "l2sp", "spectral_filter"),
    after=("product",),
    hypotheses=(CLAIM,),
)
SPOILT = "fewshot/rotten_tomatoes-16/1000/spectral_filter,learning_rate=0.0002"
FILES = ("report.html", "report.md", "results.csv", "records.csv")


def texts(folder, records):
    write_report(folder, PLAN, records)
    return {name: (folder / "report" / name).read_text(encoding="utf-8") for name in FILES}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return texts(tmp_path_factory.mktemp("whole"), FoundRecords(synthetic_records(PLAN), {}))


def test_the_page_asks_for_nothing_from_elsewhere(whole):
    outside = re.findall(r"(?:src|href)=[\"']?(?!#)[^\"'>]+|url\((?!#)[^)]+|@import", whole["report.html"])
    assert outside == []
    assert "default-src 'none'" in whole["report.html"]


@pytest.mark.parametrize(
    "part",
    [
        *(
            "Verdicts",
            "Each comparison of the verdicts",
            "Score against retention",
            "Beside the plain fine-tune",
            "Learning curves",
            "All results",
        ),
        *("Cost, stability and perturbation", "Tuning", "What is not in it", "Methods"),
    ],
)
def test_each_part_is_on_the_page(whole, part):
    assert f"<h2>{part}</h2>" in whole["report.html"]


def test_markdown_has_the_tables_and_no_empty_part(whole):
    parts = whole["report.md"].split("\n## ")
    assert "Score against retention" not in whole["report.md"]
    assert all("|" in part or "- **" in part for part in parts[1:])


def test_a_method_that_never_has_the_loss_is_counted(whole):
    # It needs more steps than AdamW, as it was made up.
    start = "| spectral_filter | fewshot: rotten_tomatoes, 16 a class | 0 of 3"
    row = next(line for line in whole["report.md"].splitlines() if line.startswith(start))
    assert "∞" in row


@pytest.mark.parametrize(
    ("table", "row", "columns"),
    [
        ("hypothesis | method / rival", "H1", ("BCa", "detectable")),
        ("method | part | sd of score", "spectral_filter", ("of AdamW's", "p")),
    ],
)
def test_what_the_statistics_give_beside_the_interval_is_shown(whole, table, row, columns):
    header, _, *rows = whole["report.md"].split(f"| {table}")[1].split("\n\n")[0].splitlines()
    names = [cell.strip() for cell in f"{table}{header}".strip("|").split("|")]
    cells = next(line for line in rows if line.startswith(f"| {row} |")).strip("|").split("|")
    assert all(re.search(r"\d", cells[names.index(column)]) for column in columns)


def test_a_whole_study_says_that_it_is_whole(whole):
    cells = sum(len(job.cells) for job in PLAN.jobs())
    assert f"{cells} of {cells} cells." in whole["report.html"]
    assert "partial" not in whole["report.html"]
    assert "scaling does. Confirmed: " in whole["report.md"]


@pytest.mark.parametrize("name", FILES)
def test_no_number_is_nan(whole, name):
    assert re.findall(r"\b(?:nan|inf|None)\b", whole[name]) == []


def test_there_is_a_row_for_each_run_and_for_each_number(whole):
    records = list(synthetic_records(PLAN).values())
    runs = list(csv.DictReader(whole["records.csv"].splitlines()))
    assert len(runs) == len(records)
    first = next(row for row in runs if row["after"] == "product")
    same = [one for one in records if one.after == "product" and str(one.seed) == first["seed"]]
    assert float(first["lost"]) == same[0].metrics["points"][0]["lost"]
    numbers = list(csv.DictReader(whole["results.csv"].splitlines()))
    # Eight measures of each state, of the start too; three of each look at dev; a fifth of the spectrum each.
    expected = sum(
        8 * (len(one.metrics["points"]) + 1)
        + len(one.metrics["points"][0]["probes"])
        + 3 * len(one.metrics.get("curve", {}).get("dev_step", ()))
        + len(one.metrics.get("bands", ()))
        + len(one.cpu_seconds)
        + 2
        for one in records
    )
    assert len(numbers) == expected
    assert all(math.isfinite(float(row["value"])) for row in numbers)


def test_a_study_without_a_record_has_a_page(tmp_path):
    page = texts(tmp_path, FoundRecords({}, {}))
    assert page["report.md"].split("\n\n")[1].startswith("0 of ")
    assert page["results.csv"].count("\n") == page["records.csv"].count("\n") == 1


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """A run of the filter is missing, another one diverged, and files are no records."""
    records = synthetic_records(PLAN)
    gone = next(key for key, one in records.items() if one.after == "product")
    records[SPOILT] = diverged(records[SPOILT])
    del records[gone]
    refused = {f"fewshot/{place}.json": "corrupt: no JSON" for place in range(5)}
    refused["<b>.json"] = "foreign | <script>alert(1)</script>"
    return texts(tmp_path_factory.mktemp("broken"), FoundRecords(records, refused))


def test_a_partial_study_says_so_at_the_top_and_leaves_the_verdict_open(broken):
    cells = len(synthetic_records(PLAN))
    assert broken["report.md"].split("\n\n")[1].startswith(f"{cells - 1} of {cells} cells: a partial study.")
    assert "scaling does. Undecided: " in broken["report.md"]
    assert f"Missing: 1 cell of {cells}" in broken["report.md"]


def test_a_run_that_diverged_is_told_and_is_in_no_mean(broken):
    said, spoilt = broken["report.md"], synthetic_records(PLAN)[SPOILT]
    assert (
        f"1 of 3 runs (seed {spoilt.seed}): spectral_filter at learning rate 0.0006: the loss is nan" in said
    )
    row = next(
        line for line in said.splitlines() if line.startswith("| spectral_filter | rotten_tomatoes, 16")
    )
    others = [
        one.metrics["points"][0]["accuracy"]
        for key, one in synthetic_records(PLAN).items()
        if (one.part, one.method) == ("fewshot", "spectral_filter") and key != SPOILT
    ]
    assert f"| 2 of 3 | {sum(others) / 2:.3f} |" in row
    assert "Without the runs that diverged, of spectral_filter." in broken["report.html"]


def test_refused_files_are_named_with_their_reasons(broken):
    assert "Refused: 5 files, corrupt: no JSON: fewshot/0.json" in broken["report.md"]
    assert "2 more" in broken["report.md"]


def test_names_that_are_no_markup_stay_text(broken):
    assert "<script>alert" not in broken["report.html"]
    assert "&lt;script&gt;alert(1)" in broken["report.html"]


def test_options_are_chosen_in_each_part_by_its_own_runs(tmp_path):
    """Tasks that are tuned in parts of their own, on fine-tunes at other rates, have a choice each."""
    plan = synthetic_plan(1, ("rotten_tomatoes", "sotu_eras"), ("adamw",), ())
    tuning = plan.parts[0]
    parts = []
    for task, rate, own in (("rotten_tomatoes", 1e-4, (0.3, 3.0)), ("sotu_eras", 2e-4, (1.0, 10.0))):
        adamw = MethodGrid("adamw", {"learning_rate": (rate,)})
        filters = AfterGrid("product", options={"strength": own, "null": (None, "permuted")})
        scaled = replace(tuning, methods=(adamw,), after=(filters,), factors=(1.0, 0.6))
        parts.append(replace(scaled, name=f"tuning_{task}", tasks=(task,)))
    plan = replace(plan, parts=tuple(parts))
    write_report(tmp_path, plan, FoundRecords(synthetic_records(plan), {}))
    text = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    table = text.split("## Tuning")[1].split("\n\n")[1].splitlines()[2:]
    cells = [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in table]
    assert [row[:2] for row in cells] == [
        [name, f"tuning_{task}"]
        for task in ("rotten_tomatoes", "sotu_eras")
        for name in ("adamw", "adamw+product", "adamw+product (permuted)")
    ]
    assert not [row for row in cells if row[2].startswith("none")]
