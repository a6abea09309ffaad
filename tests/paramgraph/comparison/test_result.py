import json
import math

import pytest

from paramgraph import Comparison
from paramgraph.comparison import summarize

CELL = {
    "layer": "a",
    "construction": "ring",
    "builder": "ring",
    "source": "none",
    "seed": 0,
    "circular": False,
    "compaction": 0.3,
    "spectral_gap": None,
    "energy": [0.75, 0.25],
    "snr": [0.1, 0.2],
    "gain_interval": [1.0, 1.5],
    "evidence": {"draws": [0.1]},
}
RING = {"name": "ring", "builder": "Ring()", "source": "none", "null": True}


@pytest.fixture
def result():
    cells = (CELL, CELL | {"layer": "b", "spectral_gap": 0.5})
    return Comparison(
        {"signal": "weights", "share": 0.2, "model": "one"},
        (RING,),
        cells,
        summary_rows=tuple(summarize([RING], cells)),
        failures=({"layer": "c", "construction": "*", "error": "no such layer"},),
        refused=({"builder": "gram", "source": "x", "scheme": "rows", "reason": "because"},),
    )


def test_frame_has_one_row_for_each_cell_and_numbers_where_one_is_missing(result):
    frame = result.frame
    assert frame["layer"].tolist() == ["a", "b"]
    assert frame["spectral_gap"].dtype == float
    assert math.isnan(frame["spectral_gap"][0])
    assert frame["gain_high"].tolist() == [1.5, 1.5]
    assert frame["circular"].tolist() == [False, False]
    assert not any(isinstance(value, list | dict) for value in frame.iloc[0])


def test_bands_have_one_row_for_each_cell_and_band(result):
    bands = result.bands
    assert bands[["layer", "band", "energy", "snr"]].values.tolist() == [
        ["a", 0, 0.75, 0.1],
        ["a", 1, 0.25, 0.2],
        ["b", 0, 0.75, 0.1],
        ["b", 1, 0.25, 0.2],
    ]


def test_json_both_ways_keeps_everything_but_what_was_pooled_from(result):
    again = Comparison.from_json(result.to_json())
    assert again.to_dict() == result.to_dict()
    assert again.failures == result.failures
    assert again.refused == result.refused
    assert again.frame.equals(result.frame)
    assert "evidence" not in result.to_dict()["cells"][0]


def test_json_has_no_nan(result):
    odd = Comparison(result.setting, result.constructions, ({**CELL, "compaction": math.nan},))
    assert json.loads(odd.to_json())["cells"][0]["compaction"] is None


def test_file_is_read_as_it_was_written(result, tmp_path):
    text = result.to_json(tmp_path / "record.json")
    assert (tmp_path / "record.json").read_text(encoding="utf-8") == text + "\n"
    assert Comparison.from_json(str(tmp_path / "record.json")).to_dict() == result.to_dict()


@pytest.mark.parametrize(
    ("text", "says"), [("{", "no JSON"), ("{}", "lacks setting, constructions"), ('{"setting": {}}', "lacks")]
)
def test_what_is_no_comparison_is_refused(text, says):
    with pytest.raises(ValueError, match=says):
        Comparison.from_json(text)


def test_other_json_in_a_file_is_refused(tmp_path):
    (tmp_path / "list.json").write_text("[]", encoding="utf-8")
    with pytest.raises(ValueError, match="got list"):
        Comparison.from_json(tmp_path / "list.json")


def test_result_without_cells_has_empty_tables():
    empty = Comparison({"signal": "weights", "share": 0.2, "model": "none"})
    assert (len(empty.frame), len(empty.bands), len(empty.summary()), len(empty.agreement)) == (0, 0, 0, 0)
    assert empty.verdict == "Nothing was measured."
