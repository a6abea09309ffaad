import numpy as np
import pytest

from paramgraph.comparison.report import heatmap_figure, heatmap_scale


def panels(figure):
    return [axes for axes in figure.axes if axes.axison and axes.get_title(loc="left")]


def titles(figure):
    return [axes.get_title(loc="left").replace("\n", "") for axes in panels(figure)]


@pytest.mark.parametrize("wide", [False, True])
def test_there_is_a_panel_for_each_role(wide, synthetic, llama_roles):
    assert titles(heatmap_figure(synthetic(3, llama_roles), wide=wide)) == list(llama_roles)


def test_thirty_layers_are_labelled_by_every_fifth(synthetic, llama_roles):
    axes = panels(heatmap_figure(synthetic(30, llama_roles, 2)))[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "5", "10", "15", "20", "25"]
    assert axes.get_xlim() == (0, 30)


def test_matrices_of_one_kind_each_share_a_panel_under_their_names():
    cells = [
        {
            "layer": f"net.{at}.weight",
            "depth": None,
            "role": f"{at}.weight",
            "construction": "knn",
            "gain": float(at),
        }
        for at in range(3)
    ]
    figure = heatmap_figure({"setting": {}, "cells": cells, "constructions": [{"name": "knn"}]}, "gain")
    (axes,) = (one for one in figure.axes if one.get_ylim() == (1, 0))
    assert [label.get_text() for label in axes.get_xticklabels()] == ["net.0", "net.1", "net.2"]


def test_a_role_that_occurs_once_is_named_by_itself(synthetic):
    assert titles(heatmap_figure(synthetic(1, ("attention.query",), 2))) == ["attention.query"]


def test_a_cell_without_a_number_has_a_cross(synthetic):
    result = synthetic(2, ("query",), 3)
    result["cells"][0]["compaction"] = None
    (crosses,) = panels(heatmap_figure(result))[0].collections
    assert crosses.get_offsets().tolist() == [[0.5, 0.5]]


def test_of_two_seeds_the_median_is_drawn():
    cells = [
        {"layer": "a", "role": "a", "depth": 0, "construction": "knn", "seed": seed, "gain": gain}
        for seed, gain in enumerate((1.0, 1.0, 9.0))
    ]
    figure = heatmap_figure({"setting": {}, "cells": cells, "constructions": [{"name": "knn"}]}, "gain")
    (patch,) = panels(figure)[0].patches
    assert patch.get_facecolor()[3] == 0.0


def test_a_column_that_is_missing_is_refused_with_those_there_are(synthetic):
    with pytest.raises(
        ValueError, match=r"no cell has a number in 'gian'; those that can be drawn: .*gain, "
    ):
        heatmap_figure(synthetic(1, ("query",), 1), "gian")


@pytest.mark.parametrize("count", [11, 12])
def test_both_ends_of_a_crowded_scale_are_named(count):
    cells = [
        {"layer": f"{at}", "role": "a", "depth": at, "construction": "knn", "gain": 1 + at / 10}
        for at in range(count)
    ]
    figure = heatmap_figure({"setting": {}, "cells": cells, "constructions": [{"name": "knn"}]}, "gain")
    labels = [label.get_text() for label in figure.axes[-1].get_xticklabels()]
    assert labels[0] == "1"
    assert labels[-1].removeprefix("≥ ") == f"{1 + (count - 1) / 10:g}"


def comparison(null: float | None = 0.2) -> dict:
    return {"setting": {"share": 0.2}, "cells": [{"compaction_permuted": null}]}


@pytest.mark.parametrize("null", [0.19, 0.2, 0.217, 0.5])
def test_what_chance_gives_lies_in_the_step_without_colour(null):
    scale = heatmap_scale(comparison(null), "compaction", [0.1, 0.3, 0.62])
    step = np.searchsorted(scale.edges, round(null, 2)) - 1
    assert [colour[3] for colour in scale.colours()].index(0.0) == step


def test_colours_are_stronger_the_further_away():
    scale = heatmap_scale(comparison(), "gain", [0.5, 1.8])
    alphas = [colour[3] for colour in scale.colours()]
    at = alphas.index(0.0)
    assert alphas[at:] == sorted(alphas[at:])
    assert alphas[: at + 1] == sorted(alphas[: at + 1], reverse=True)


def test_above_and_below_have_their_own_colours():
    colours = heatmap_scale(comparison(), "z_score", [-30.0, 30.0]).colours()
    assert colours[0][:3] != colours[-1][:3]


def test_one_wild_layer_does_not_take_the_colours_of_the_others():
    scale = heatmap_scale(comparison(), "lift_low", [*np.linspace(0.8, 2.0, 60), -400.0])
    assert scale.edges[0] > 0
    assert scale.labels()[0].startswith("≤ ")


def test_without_a_null_the_share_is_what_chance_gives():
    assert heatmap_scale(comparison(None), "compaction", [0.4]).neutral == 0.2


@pytest.mark.parametrize("column", ["compaction", "z_score", "gain", "edge_stability"])
def test_values_that_are_all_equal_have_a_scale(column):
    scale = heatmap_scale(comparison(), column, [0.7, 0.7])
    assert len(scale.edges) == len(scale.colours()) + 1 >= 2
    assert scale.edges == sorted(scale.edges)


def test_a_z_score_beyond_all_steps_is_marked():
    assert heatmap_scale(comparison(), "z_score", [5000.0]).labels()[-1] == "≥ 1000"
