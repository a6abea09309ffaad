import math

import numpy as np
import pytest

from paramgraph.comparison.report import (
    band_labels,
    construction_names,
    csv_text,
    is_number,
    layer_names,
    measured,
    median_cells,
    number_text,
    quartiles,
    stacked,
    summary_rows,
)


def test_nulls_and_circular_constructions_come_last_whatever_they_reach():
    rows = [
        {"construction": "circular", "compaction": 0.9, "circular": True},
        {"construction": "low", "compaction": 0.2},
        {"construction": "unknown", "compaction": None},
        {"construction": "high", "compaction": 0.4},
        {"construction": "null", "compaction": 0.8, "null": True},
    ]
    names = [row["construction"] for row in summary_rows({"summary": rows})]
    assert names == ["high", "low", "unknown", "circular", "null"]


def test_a_construction_that_is_in_no_summary_is_named_all_the_same():
    assert construction_names({"summary": [], "constructions": [{"name": "failed"}]}) == ["failed"]


def test_layers_stand_by_depth_and_those_without_one_last():
    cells = [{"layer": "head", "depth": None}, {"layer": "b", "depth": 1}, {"layer": "a", "depth": 0}]
    assert layer_names({"cells": cells}) == ["a", "b", "head"]


@pytest.mark.parametrize("value", [None, math.nan, math.inf, True, "1", [1.0]])
def test_what_is_no_finite_number_is_no_number(value):
    assert not is_number(value)


def test_a_column_of_lists_counts_as_measured_once_it_has_a_number():
    assert measured({"cells": [{"snr": [None, 0.5]}]}, "snr")
    assert not measured({"cells": [{"snr": [None, None]}]}, "snr")


def test_the_median_leaves_out_what_is_missing_and_goes_entry_by_entry():
    cells = [
        {"layer": "a", "gain": None, "snr": [1.0, None], "shift": "laplacian"},
        {"layer": "a", "gain": 2.0, "snr": [3.0, 5.0], "shift": "laplacian"},
    ]
    assert median_cells(cells, ("layer",)) == [
        {"layer": "a", "gain": 2.0, "snr": [2.0, 5.0], "shift": "laplacian"}
    ]


def test_one_cell_is_its_own_median():
    cell = {"layer": "a", "nodes": 3, "circular": False}
    assert median_cells([cell], ("layer",)) == [cell]


def test_lists_of_another_length_are_not_stacked():
    assert stacked([{"snr": [1.0, 2.0]}, {"snr": [1.0]}], "snr").shape == (1, 2)


def test_quartiles_of_a_column_without_numbers_are_missing():
    found = quartiles(np.array([[1.0, math.nan], [3.0, math.nan]]))
    assert found[:, 0].tolist() == [1.5, 2.0, 2.5]
    assert np.isnan(found[:, 1]).all()


def test_narrow_bands_are_named_without_noise_of_rounding():
    assert band_labels([0, 0.01, 0.07, 1]) == ["0\N{EN DASH}1", "1\N{EN DASH}7", "7\N{EN DASH}100"]


@pytest.mark.parametrize(
    ("value", "style", "text"),
    [
        (1234567, ",", "1,234,567"),
        (12.5, ",", "12.5"),
        (0.00012, ".2g", "0.00012"),
        ([None, None], ".2f", "\N{EN DASH}"),
        ([0.5, None], ".2f", "[0.50, \N{EN DASH}]"),
        ([1.0, 0.5, 0.25], ".2f", "1.00 0.50 0.25"),
        (math.inf, ".2f", "\N{EN DASH}"),
        (True, "", "yes"),
        ("laplacian", "", "laplacian"),
    ],
)
def test_numbers_are_written_as_their_column_asks(value, style, text):
    assert number_text(value, style) == text


def test_csv_quotes_what_would_break_a_row():
    assert csv_text(["name", "value"], [['a "b", c', math.nan]]) == 'name,value\n"a ""b"", c",\n'
