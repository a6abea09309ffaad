"""The notebooks: each is what its source gives, shows nothing of a machine, and runs from top to bottom."""

import ast
import os
import re
from importlib.metadata import metadata
from itertools import pairwise
from pathlib import Path
from typing import Any

import build_notebooks
import matplotlib as mpl
import matplotlib.pyplot as plt
import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager
from nbclient.exceptions import CellExecutionError

from paramgraph.display import PALETTE

TUTORIALS = Path(__file__).parents[2] / "tutorials"
SOURCES = build_notebooks.sources()
each_notebook = pytest.mark.parametrize("source", SOURCES, ids=[source.stem for source in SOURCES])


def kept(source: Path) -> Any:
    return nbformat.read(source.with_suffix(".ipynb"), as_version=4)


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def should_show_something(code: str) -> bool:
    """Tell whether a cell ends in an expression, as a notebook shows it, and not in `;`, which hides it."""
    statements = ast.parse(TransformerManager().transform_cell(code)).body
    return bool(statements) and isinstance(statements[-1], ast.Expr) and not code.rstrip().endswith(";")


def notebook_with(*outputs: Any) -> Any:
    cell = nbformat.v4.new_code_cell("1", outputs=list(outputs), id="cell-00")
    return nbformat.v4.new_notebook(cells=[cell])


@each_notebook
def test_cells_are_those_of_the_source(source: Path) -> None:
    made, expected = kept(source), build_notebooks.read_source(source)
    assert made.metadata == expected.metadata
    assert [(cell.id, cell.cell_type, cell.source) for cell in made.cells] == [
        (cell.id, cell.cell_type, cell.source) for cell in expected.cells
    ]


@each_notebook
def test_outputs_hold_no_path_error_warning_or_address(source: Path) -> None:
    assert build_notebooks.faults(kept(source)) == []


@each_notebook
def test_every_cell_that_ends_in_an_expression_shows_it(source: Path) -> None:
    silent = [
        cell.id
        for cell in code_cells(kept(source))
        if should_show_something(cell.source) and not cell.outputs
    ]
    assert silent == []


@each_notebook
def test_it_was_run_once_from_top_to_bottom(source: Path) -> None:
    counts = [cell.execution_count for cell in code_cells(kept(source))]
    assert counts == list(range(1, len(counts) + 1))


@each_notebook
def test_file_is_small_enough_to_be_read_in_a_browser(source: Path) -> None:
    assert source.with_suffix(".ipynb").stat().st_size <= build_notebooks.MOST_BYTES


@each_notebook
def test_it_begins_with_what_is_learnt_and_how_long_it_takes(source: Path) -> None:
    first = kept(source).cells[0]
    assert first.cell_type == "markdown"
    assert first.source.startswith("# ")
    assert "minutes" in first.source


@each_notebook
def test_it_runs_alone_in_colab(source: Path) -> None:
    cells = kept(source).cells
    (opened,) = re.findall(r"\(https://colab\.research\.google\.com/github/(\S+?)\)", cells[0].source)
    assert opened == f"paramgraph/paramgraph/blob/main/tutorials/{source.stem}.ipynb"
    # Where the package is installed the cell does nothing, so the line that installs is looked at instead.
    (extras,) = re.findall(
        r"^    %pip install --quiet \"paramgraph\[([\w,]+)\]\"$", cells[1].source, re.MULTILINE
    )
    assert cells[1].source.startswith(
        'from importlib.util import find_spec\n\nif find_spec("paramgraph") is None:'
    )
    assert set(extras.split(",")) <= set(metadata("paramgraph").get_all("Provides-Extra"))
    assert f"paramgraph[{extras}]" in cells[0].source
    # Of files beside it a reader of Colab has none.
    assert "mplstyle" not in source.read_text(encoding="utf-8")


@each_notebook
def test_its_headings_are_a_tree_of_one_root(source: Path) -> None:
    prose = "\n".join(cell.source for cell in kept(source).cells if cell.cell_type == "markdown")
    fenced = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
    levels = [len(mark) for mark in re.findall(r"^(#+) ", fenced.sub("", prose), re.MULTILINE)]
    assert levels[0] == 1
    assert all(1 < level <= before + 1 for before, level in pairwise(levels))


@each_notebook
def test_it_ends_with_three_to_five_exercises_and_folded_solutions(source: Path) -> None:
    prose = "\n".join(cell.source for cell in kept(source).cells if cell.cell_type == "markdown")
    _, heading, exercises = prose.partition("## Exercises")
    assert heading
    assert 3 <= exercises.count("<details>") <= 5
    assert exercises.count("<details>") == exercises.count("</details>")


@each_notebook
def test_it_runs_in_fast_mode(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The kernel is a process of its own: warnings are no errors there, and no call is checked, as for a reader.
    for name, value in (build_notebooks.SETTINGS | os.environ | {"PARAMGRAPH_FAST": "1"}).items():
        monkeypatch.setenv(name, value)
    ran = code_cells(build_notebooks.execute(source))
    assert [cell.execution_count for cell in ran] == list(range(1, len(ran) + 1))


def test_a_cell_that_raises_is_told(tmp_path: Path) -> None:
    source = tmp_path / "00_broken.py"
    source.write_text("# %%\nassert 1 == 2\n", encoding="utf-8")
    with pytest.raises(CellExecutionError, match="AssertionError"):
        build_notebooks.execute(source)


def test_every_notebook_has_a_source() -> None:
    assert sorted(path.stem for path in TUTORIALS.glob("*.ipynb")) == [source.stem for source in SOURCES]


def test_style_of_the_figures_has_the_colours_of_the_package() -> None:
    with plt.style.context("paramgraph.plotting.figures"):
        assert mpl.rcParams["axes.prop_cycle"].by_key()["color"] == list(PALETTE)


@pytest.mark.parametrize(
    "line",
    [
        "saved in /home/ann/out.json",
        "model='/root/.cache/model'",
        "see (/tmp/x)",
        r"C:\Users\ann",
        "<function f at 0x7f0012ab34cd>",
    ],
)
def test_an_output_that_tells_of_a_machine_is_a_fault(line: str) -> None:
    printed = nbformat.v4.new_output("stream", name="stdout", text=f"all is well\n{line}\n")
    (fault,) = build_notebooks.faults(notebook_with(printed))
    assert line in fault
    shown = nbformat.v4.new_output(
        "execute_result", data={"text/plain": "fine", "text/html": f"<b>{line}</b>"}
    )
    assert len(build_notebooks.faults(notebook_with(shown))) == 1


def test_a_warning_and_an_error_are_faults() -> None:
    warning = nbformat.v4.new_output("stream", name="stderr", text="UserWarning: odd")
    error = nbformat.v4.new_output("error", ename="ValueError", evalue="no", traceback=[])
    assert len(build_notebooks.faults(notebook_with(warning, error))) == 2


def test_relative_paths_addresses_of_pages_and_the_bytes_of_pictures_are_no_faults() -> None:
    printed = nbformat.v4.new_output(
        "stream", name="stdout", text="tutorials/records/a.json https://example.org/home/x 1/root/2 ratio: 3"
    )
    picture = nbformat.v4.new_output("display_data", data={"image/png": "AAAA=/tmp/C:\\x"})
    assert build_notebooks.faults(notebook_with(printed, picture)) == []


@pytest.mark.parametrize(
    ("code", "shows"), [("1", True), ("plt.show()", True), ("x = 1", False), ("f();", False), ("# a", False)]
)
def test_a_cell_shows_its_last_expression_unless_a_semicolon_hides_it(code: str, shows: bool) -> None:
    assert should_show_something(code) is shows


def test_the_same_source_gives_the_same_bytes(tmp_path: Path) -> None:
    source = tmp_path / "00_two_cells.py"
    source.write_text(
        "# %% [markdown]\n# # Two cells\n\n# %%\nprint(1)\nprint(2)\n\n# %%\n3\n", encoding="utf-8"
    )
    first = build_notebooks.build(source)
    assert first == build_notebooks.build(source)
    cells = nbformat.reads(first, as_version=4).cells
    assert [cell.id for cell in cells] == ["cell-00", "cell-01", "cell-02"]
    assert cells[1].outputs[0].text == "1\n2\n"


def test_a_source_that_prints_a_path_makes_no_notebook(tmp_path: Path) -> None:
    source = tmp_path / "00_path.py"
    source.write_text('# %%\nprint("/home/" + "ann")\n', encoding="utf-8")
    with pytest.raises(ValueError, match="cell-00 shows a path of this machine: /home/ann"):
        build_notebooks.build(source)
