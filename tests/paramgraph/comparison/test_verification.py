import json

import pytest

from paramgraph import Comparison
from paramgraph.comparison import TOLERANCES, read_records, verify_records


def record(**more):
    cells = tuple(
        {"layer": layer, "construction": "ring", "seed": 0, "nodes": 9, "compaction": 0.25, "p_value": None}
        | more
        for layer in "abc"
    )
    return Comparison({"signal": "weights", "share": 0.2, "model": "one"}, ({"name": "ring"},), cells)


@pytest.fixture
def folder(tmp_path):
    record().to_json(tmp_path / "first.json")
    record().to_json(tmp_path / "second.json")
    (tmp_path / "other.json").write_text("[1]", encoding="utf-8")
    return tmp_path


def test_cells_that_come_out_again_agree(folder):
    found = verify_records(folder, 6, 0, lambda record, cell: record)
    assert [one["agrees"] for one in found] == [True] * 6
    assert found[0]["cell"] == "first.json: ring, a, seed 0"


@pytest.mark.parametrize(
    ("name", "value", "agrees"),
    [
        ("nodes", 8, False),
        ("compaction", 0.25 + 0.9 * TOLERANCES["compaction"][1], True),
        ("compaction", 0.25 + 1.1 * TOLERANCES["compaction"][1], False),
        ("compaction", None, False),
        ("p_value", 0.5, False),
    ],
)
def test_numbers_that_are_off_are_named_with_both_values(folder, name, value, agrees):
    (found,) = verify_records(folder, 1, 0, lambda _, cell: record(**{name: value}))
    assert found["agrees"] == agrees
    assert (f"{name} " in found["differences"]) != agrees


def test_cell_that_is_not_measured_any_more_does_not_agree(folder):
    (found,) = verify_records(folder, 1, 0, lambda record, cell: Comparison(record.setting))
    assert not found["agrees"]
    assert found["differences"] == "nothing was measured"


def test_draw_depends_on_the_seed_alone(folder):
    draws = [
        [one["cell"] for one in verify_records(folder, 2, seed, lambda record, cell: record)]
        for seed in (3, 3, 4, 5)
    ]
    assert draws[0] == draws[1]
    assert len({tuple(draw) for draw in draws}) > 1


@pytest.mark.parametrize("cells", [0, 7])
def test_number_of_cells_is_one_that_can_be_drawn(folder, cells):
    with pytest.raises(ValueError, match="1 to 6 can be drawn"):
        verify_records(folder, cells, 0, lambda record, cell: record)


def test_files_that_are_no_records_are_passed_over_in_a_folder_and_refused_alone(folder):
    assert list(read_records(folder)) == ["first.json", "second.json"]
    with pytest.raises(ValueError, match="JSON object"):
        read_records(folder / "other.json")
    with pytest.raises(ValueError, match="no record"):
        read_records(folder / "missing.json")
    (folder / "none").mkdir()
    with pytest.raises(ValueError, match="holds no record"):
        read_records(folder / "none")


def test_record_is_plain_json(folder):
    assert json.loads((folder / "first.json").read_text(encoding="utf-8"))["cells"][0]["layer"] == "a"
