"""What pages show of committed records is what `make results` writes, and its prose says what the records hold."""

import re
from pathlib import Path

import pytest
import refinement_results
import write_results

PAGE = write_results.PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", list(write_results.PARTS), ids=lambda page: page.stem)
def test_every_table_is_that_of_the_committed_records(page: Path) -> None:
    """After new records: run `make results`."""
    text = page.read_text(encoding="utf-8")
    assert write_results.filled(text, write_results.PARTS[page]) == text


def test_the_readme_is_short_of_claims_that_the_study_makes() -> None:
    overview = write_results.study()
    assert overview is not None
    claims = {one["id"] for one in overview.plan.hypotheses}
    assert set(write_results.SHORT) <= claims
    longest = max(len(row[0].split()) for row in write_results.findings(overview).rows)
    assert longest <= 25  # words: a longer claim needs a short form


def test_a_page_with_other_markers_is_refused() -> None:
    parts = {"one": lambda: "1"}
    assert write_results.filled("<!-- results: one -->\n<!-- end -->\n", parts) == (
        "<!-- results: one -->\n\n1\n\n<!-- end -->\n"
    )
    with pytest.raises(ValueError, match="markers of \\['two'\\]"):
        write_results.filled("<!-- results: two -->\n<!-- end -->\n", parts)
    with pytest.raises(ValueError, match="end with <!-- end -->"):
        write_results.filled("<!-- results: one -->\n", parts)


def test_what_it_says_of_refinements_beside_the_table_is_in_the_records() -> None:
    lost = {
        task: [
            refinement_results.path_of(record, "scaling")[0][0] for record in refinement_results.read(task)
        ]
        for task in (*refinement_results.TASKS, "20_newsgroups")
    }
    percent = {task: [f"{100 * end:.0f}" for end in (min(found), max(found))] for task, found in lost.items()}
    words = " ".join(PAGE.split())
    assert "{} to {} % (film reviews)".format(*percent["rotten_tomatoes"]) in words
    assert "{} to {} % (State of the Union addresses by era)".format(*percent["sotu_eras"]) in words
    assert "one seed, loses {} %".format(percent["20_newsgroups"][0]) in words
    ratios = [
        ratio
        for task in refinement_results.TASKS
        for ratio in refinement_results.ratios(task, "product", -0.01)
    ]
    assert f"({min(ratios):.2f} to {max(ratios):.2f})" in words


def test_every_file_that_the_page_names_is_there() -> None:
    named = re.findall(r"\]\(([^)#:]+)\)", PAGE)
    assert len(named) > 6
    assert not [name for name in named if not (write_results.PAGE.parent / name).exists()]
