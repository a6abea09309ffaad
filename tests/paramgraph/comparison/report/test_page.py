import contextlib
import html
import json
import re
import shlex
import sys
from html.parser import HTMLParser

import pytest

from paramgraph import Comparison
from paramgraph.comparison.report import comparison_page


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.text = text
        self.seen = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))

    def count(self, tag):
        return sum(one == tag for one, _ in self.seen)

    def headings(self):
        return re.findall(r"<h2>(.*?)</h2>", self.text)


@pytest.fixture(scope="module")
def page(synthetic):
    return Page(comparison_page(synthetic(2, constructions=3)))


def test_the_verdict_leads(page, synthetic):
    verdict = re.search(r'<p class="lead">(.*?)</p>', page.text)[1]
    assert verdict.replace("\N{NO-BREAK SPACE}", " ").startswith(
        "Of 5 constructions, cosine_knn of gradients"
    )


def test_nothing_points_outside_the_page(page):
    assert not [tag for tag, attributes in page.seen if {"src", "srcset", "action"} & set(attributes)]
    links = [attributes["href"] for _, attributes in page.seen if "href" in attributes]
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in links)
    assert not re.search(r"https?:|url\((?!#)|@import", page.text)


def test_links_lead_to_places_that_are_there_and_identifiers_are_unique(page):
    identifiers = [attributes["id"] for _, attributes in page.seen if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    links = {attributes["href"] for _, attributes in page.seen if attributes.get("href", "").startswith("#")}
    assert links <= {f"#{identifier}" for identifier in identifiers}


def test_every_figure_has_its_data_and_its_command(page):
    figures = re.findall(r"<figure.*?</figure>", page.text, re.DOTALL)
    assert len(figures) == page.count("figure") == 10
    assert all(
        "comparison" in figure and "<details>" in figure and "<pre id=" in figure for figure in figures
    )


def test_without_scripts_all_rows_are_shown_and_no_dead_control(page):
    assert not re.search(r"<tr[^>]* hidden", page.text)
    before_script = page.text[: page.text.index("<script>")]
    for control in re.findall(
        r"<button[^>]*data-theme-button[^>]*>|<div[^>]*data-(?:controls|actions)[^>]*>", before_script
    ):
        assert " hidden" in control


def test_failures_and_refusals_are_told_with_their_reason(page):
    assert "return the Data you were given" in page.text
    assert "the graphical lasso is meant for at most 600" in page.text


def test_how_it_was_made_stands_below(page):
    footer = page.text[page.text.index("<footer>") :]
    for part in ("paramgraph compare all-MiniLM-L6-v2", "torch 2.13.0", "912 MB", "81.2", "x86_64"):
        assert part in footer


def test_every_group_of_columns_is_explained(page):
    words = page.text[page.text.index("What the words mean") :]
    for word in (
        "compaction",
        "permuted, rotated, random",
        "lift",
        "gain in batch size",
        "stability",
        "response",
        "degrees",
    ):
        assert f"<dt>{word}</dt>" in words


def test_text_of_a_model_is_never_markup(synthetic):
    result = synthetic(1, ("query",), 1)
    hostile = "<script>alert(1)</script>"
    result |= {"title": hostile, "verdict": hostile}
    result["setting"] |= {"model": hostile, "chosen": [hostile], "command": hostile}
    result["failures"] = [{"layer": hostile, "construction": hostile, "error": hostile}]
    for row in (*result["cells"], *result["summary"]):
        row["construction"] = hostile
    for cell in result["cells"]:
        cell |= {"layer": hostile, "role": hostile}
    assert Page(comparison_page(result)).count("script") == 1


def test_what_was_not_measured_is_named_and_has_no_figure(synthetic):
    page = Page(comparison_page(synthetic(2, constructions=2, batches=False, drawing=False)))
    assert "Not measured here: signal-to-noise, lift and gain (they need batches)" in page.text
    assert "Signal and noise" not in page.text
    assert "A graph, drawn" not in page.text


def test_next_to_nothing_makes_a_page(bare):
    page = Page(comparison_page(bare))
    assert page.count("figure") == 0
    assert page.headings() == [
        "Constructions",
        "Every layer",
        "Chosen, failed, refused",
        "What the words mean",
    ]


def test_nothing_at_all_makes_a_page(bare):
    page = Page(comparison_page(bare | {"cells": [], "summary": [], "constructions": []}))
    assert "Nothing failed." in page.text


def test_the_same_comparison_gives_the_same_bytes(synthetic):
    small = synthetic(1, ("query",), 2)
    assert comparison_page(small) == comparison_page(small)


def test_a_page_of_many_layers_stays_below_four_megabytes(synthetic, llama_roles):
    page = comparison_page(synthetic(30, llama_roles, 5))
    assert page.count('<tr data-kind="') == 210 * 5
    assert len(page.encode()) < 4e6


def commands(page):
    found = re.findall(r'aria-label="Command of this figure">(.*?)</pre>', page, re.DOTALL)
    return [html.unescape(one) for one in found]


def test_the_command_of_every_figure_makes_it_from_the_numbers_beside_the_page(
    synthetic, tmp_path, monkeypatch
):
    result = synthetic(1, ("query", "key"), 2)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "comparison.json").write_text(json.dumps(result), encoding="utf-8")
    found = commands(comparison_page(result))
    assert len(found) == 10
    for command in found:
        made, python = command.splitlines()
        assert made == result["setting"]["command"]
        program, option, code = shlex.split(python)
        assert (program, option) == ("python", "-c")
        exec(code, {})
        (tmp_path / "figure.svg").unlink()


def test_after_a_call_in_python_the_command_is_python(synthetic):
    result = synthetic(1, ("query",), 1)
    result["setting"]["command"] = "paramgraph.compare('m', seeds=[0])"
    assert "comparison = paramgraph.compare('m', seeds=[0])\ncomparison.plot_energy()" in commands(
        comparison_page(result)
    )


def test_without_matplotlib_the_pip_line_is_named(synthetic, monkeypatch):
    for name in ["matplotlib", *(name for name in sys.modules if name.startswith("matplotlib."))]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"figures need matplotlib: pip install 'paramgraph\["):
        comparison_page(synthetic())


@pytest.mark.parametrize(
    ("package", "says"),
    [
        ("matplotlib", "figures need matplotlib"),
        ("jinja2", "pages need jinja2"),
        ("pandas", "tables need pandas"),
    ],
)
@pytest.mark.parametrize("part", ["to_html", "plot_heatmap", "plot_spectra", "summary", "frame"])
def test_what_an_extra_is_needed_for_names_the_pip_line(synthetic, monkeypatch, part, package, says):
    needs = {"to_html": {"matplotlib", "jinja2"}, "summary": {"pandas"}, "frame": {"pandas"}}
    result = Comparison.from_dict(synthetic(1, ("query",), 1))
    for name in [package, *(name for name in sys.modules if name.startswith(f"{package}."))]:
        monkeypatch.setitem(sys.modules, name, None)
    expected = pytest.raises(ImportError, match=rf"{says}: pip install 'paramgraph\[")
    with expected if package in needs.get(part, {"matplotlib"}) else contextlib.nullcontext():
        made = getattr(result, part)
        made() if callable(made) else None
