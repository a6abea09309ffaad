import numpy as np
import pytest

from paramgraph.comparison.report import heatmap_scale


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
