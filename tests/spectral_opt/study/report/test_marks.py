"""Which series are drawn how, and names that never lie on each other."""

import re

import numpy as np
import pytest

from paramgraph.display import INK, new_figure, themed_svg
from spectral_opt.study.report import GREY, LINE, Overview, front_figures, marks_of_parts, write_names

from helpers.study_records import synthetic_plan, synthetic_records

PLAN = synthetic_plan(2, tasks=("rotten_tomatoes",))


def marks(plan=PLAN):
    return marks_of_parts(Overview(plan, synthetic_records(plan), {}))


def test_the_baseline_has_the_colour_of_the_text_and_no_other_series():
    found = marks()
    assert found["posthoc", "adamw"].colour == INK
    for part in ("posthoc", "fewshot"):
        coloured = [mark.colour for (own, _), mark in found.items() if own == part and mark.is_named]
        assert len(coloured) == len(set(coloured)) <= 7


def test_a_control_is_grey_and_a_name_keeps_its_colour():
    plan = synthetic_plan(2, methods=("adamw", "l2sp", "spectral_filter"), tasks=("rotten_tomatoes",))
    for name in ("l2sp", "spectral_filter"):
        assert marks(plan)["fewshot", name] == marks(plan)["convergence", name]
    nulls = synthetic_plan(2, ("rotten_tomatoes",), ("adamw",), ("product",), nulls=("permuted",))
    found = marks(nulls)
    assert found["posthoc", "adamw+product (permuted)"].colour == GREY
    assert found["posthoc", "adamw+product"].colour != GREY


def test_what_a_hypothesis_names_is_drawn_before_what_comes_first():
    claim = {
        "id": "H",
        "claim": "c",
        "tests": [{"kind": "score_difference", "part": "posthoc", "methods": ["adamw+lines"], "above": 0.0}],
    }
    after = ("product", "columns", "rows", "svd_truncation", "diagonal_fisher", "scaling", "lines")
    for hypotheses, is_drawn in (((), False), ((claim,), True)):
        plan = synthetic_plan(1, ("rotten_tomatoes",), ("adamw",), after, hypotheses)
        assert (("posthoc", "adamw+lines") in marks(plan)) is is_drawn


@pytest.mark.parametrize("heights", [[0.5] * 9, [0.0, 0.01, 0.02, 1.0], [0.98, 0.99, 1.0]])
def test_names_are_a_line_apart_and_inside_the_axes(heights):
    figure = new_figure(5, 3)
    axes = figure.axes[0]
    axes.set_ylim(0, 1)
    write_names(axes, [(1.0, y, f"n{place}", INK) for place, y in enumerate(heights)], 2.4)
    places = sorted(text.xyann[1] for text in axes.texts)
    assert np.diff(places).min() >= LINE / (72 * 2.4) - 1e-9
    assert places[0] >= -1e-9
    assert places[-1] <= 1 + 1e-9
    assert "n0" in themed_svg(figure, "names")


def test_a_front_has_a_line_from_each_state_to_the_start():
    overview = Overview(PLAN, synthetic_records(PLAN), {})
    figures = front_figures(overview, marks_of_parts(overview))
    assert [figure.title for figure in figures] == [
        "posthoc: rotten_tomatoes, 500 a class",
        "fewshot: rotten_tomatoes, 16 a class",
    ]
    names = re.findall(r">(adamw[^<]*)<", figures[0].svg)
    assert {"adamw", "adamw+product"} <= set(names)
    assert len(names) == len(set(names))
