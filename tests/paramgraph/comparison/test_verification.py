import dataclasses
import json
import math
from pathlib import Path

import pytest

from paramgraph import Comparison
from paramgraph.comparison import TOLERANCES, read_records, summarize, verify_records

SETTING = {
    **{"model": "one", "scheme": "rows", "targets": "all-linear", "signal": "weights", "seeds": [0]},
    **{"bands": [0.0, 0.5, 1.0], "share": 0.2, "nulls": ["permuted"], "permutations": 19, "modes": None},
    **{"shift": "auto", "command": "paramgraph compare one --out there"},
}
CONSTRUCTIONS = ({"name": "ring", "builder": "Ring()", "source": "none", "null": True},)
NUMBERS = {
    **{"nodes": 9, "modes": 9, "edges": 9, "components": 1, "isolated": 0, "compaction": 0.25},
    **{"compaction_permuted": 0.2, "compaction_permuted_sd": 0.05, "z_score": 1.0, "p_value": None},
    **{"energy_low": 0.25, "energy_high": 0.1, "energy": [0.4, 0.6], "seconds": 0.5, "build_seconds": 0.1},
}


def cell(layer, **more):
    words = {"scheme": "rows", "builder": "ring", "source": "none", "circular": False, "shift": "laplacian"}
    return {"layer": layer, "construction": "ring", "seed": 0} | words | NUMBERS | more


def recorded(*cells, **setting):
    return Comparison(
        SETTING | setting, CONSTRUCTIONS, cells, summary_rows=tuple(summarize(CONSTRUCTIONS, cells))
    )


def record(**more):
    return recorded(*(cell(layer, **more) for layer in "abc"))


@pytest.fixture
def folder(tmp_path):
    record().to_json(tmp_path / "first.json")
    record().to_json(tmp_path / "second.json")
    return tmp_path


def same(record, cell):
    return record


def verified(path, rerun=same, cells=1):
    return verify_records(path, cells, 0, rerun)


def named(path, rerun=same):
    """Give what was found amiss, which is something, as the only reason not to agree."""
    amiss = [row for row in verified(path, rerun) if not row["agrees"]]
    assert amiss
    return "; ".join(f"{row['cell']}: {row['differences']}" for row in amiss)


def test_cells_that_come_out_again_agree(folder):
    found = verified(folder, cells=6)
    assert [one["agrees"] for one in found] == [True] * 6
    assert found[0]["cell"] == "first.json: ring, a, seed 0"


@pytest.mark.parametrize(
    ("name", "value", "agrees"),
    [
        ("nodes", 8, False),
        ("compaction", 0.25 + 0.9 * TOLERANCES["compaction"][1], True),
        ("compaction", 0.25 + 1.1 * TOLERANCES["compaction"][1], False),
        ("energy_low", None, False),
        ("energy_low", math.nan, False),
        ("p_value", 0.5, False),
        ("gain", 1.5, False),
        ("scheme", "columns", False),
        ("circular", True, False),
    ],
)
def test_numbers_that_are_off_are_named_with_both_values(folder, name, value, agrees):
    (found,) = verified(folder, lambda _, cell: record(**{name: value}))
    assert found["agrees"] == agrees
    assert (f"{name} " in found["differences"]) != agrees


@pytest.mark.parametrize("again", [{"cells": ()}, {"cells": (cell("a", compaction=None),)}])
def test_cell_that_is_not_measured_any_more_does_not_agree(folder, again):
    (found,) = verified(folder, lambda record, cell: dataclasses.replace(record, **again))
    assert not found["agrees"]
    assert found["differences"] == "nothing was measured"


def test_what_the_builder_raises_on_measuring_again_is_named(folder):
    failures = ({"layer": "a", "construction": "ring", "error": "too few nodes"},)
    (found,) = verified(folder, lambda record, cell: Comparison(record.setting, failures=failures))
    assert found["differences"] == "nothing was measured: too few nodes"


@pytest.mark.parametrize(
    "error", [ValueError("no such\nmodel"), FileNotFoundError(2, "gone"), RuntimeError()]
)
def test_what_cannot_be_measured_again_is_named_and_the_others_go_on(folder, error):
    def sometimes(record, cell):
        if cell["layer"] == "a":
            raise error
        return record

    found = verified(folder, sometimes, cells=6)
    assert [row["agrees"] for row in found] == [False, True, True] * 2
    assert found[0]["differences"].startswith("it cannot be measured again: ")
    assert "\n" not in found[0]["differences"]


@pytest.mark.parametrize(
    ("name", "value"), [("model", "other"), ("share", 0.3), ("signal", "updates"), ("permutations", 0)]
)
def test_command_that_measures_otherwise_than_the_record_says_is_named(folder, name, value):
    (found,) = verified(folder, lambda *_: recorded(*record().cells, **{name: value}))
    assert found["differences"] == f"{name} {SETTING[name]} recorded, {value} by the command"


def test_null_that_is_recorded_as_a_graph_is_named(folder):
    again = dataclasses.replace(record(), constructions=(CONSTRUCTIONS[0] | {"null": False},))
    (found,) = verified(folder, lambda *_: again)
    assert found["differences"] == "null True recorded, False now"


def with_cell(number, **more):
    def change(values):
        cells = [dict(one) for one in values["cells"]]
        cells[number] |= more
        return values | {"cells": cells}

    return change


def with_summary(**more):
    return lambda values: values | {"summary": [values["summary"][0] | more]}


def without(part, name):
    def change(values):
        rows = values[part]
        strip = lambda row: {key: value for key, value in row.items() if key != name}  # noqa: E731
        return values | {part: strip(rows) if isinstance(rows, dict) else [strip(row) for row in rows]}

    return change


AMISS = {
    "no number for compaction": with_cell(1, compaction=None),
    "no number for edges, p_value": with_cell(1, edges=None, p_value="small"),
    "no number for components": with_cell(1, components=True),
    "no number for nodes, edges, components, compaction": lambda values: (
        values
        | {
            "cells": [
                {name: one[name] for name in ("layer", "construction", "seed")} for one in values["cells"]
            ]
        }
    ),
    "cell 0 does not say its layer": with_cell(0, layer=None),
    "cell 2 does not say its seed": with_cell(2, seed=0.5),
    "it has no cells": lambda values: values | {"cells": [], "evidence": [], "summary": []},
    "its evidence is not that of 3 cells": lambda values: values | {"evidence": values["evidence"][:2]},
    "ring, a, seed 0 is there 2 times": lambda values: (
        values | {name: [*values[name], values[name][0]] for name in ("cells", "evidence")}
    ),
    "is of no construction that is listed": with_cell(0, construction="star"),
    "is of no seed that is listed": with_cell(0, seed=7),
    "its setting lacks share": without("setting", "share"),
    "its setting lacks command": without("setting", "command"),
    "its summary is of nothing": lambda values: values | {"summary": []},
    "its summary is of ring, star": lambda values: (
        values | {"summary": [values["summary"][0], values["summary"][0] | {"construction": "star"}]}
    ),
    "its summary is of ring, its cells": lambda values: values | {"summary": values["summary"] * 2},
    "compaction of ring is 0.26 in the summary, 0.25 by the cells": with_summary(compaction=0.26),
    "compaction of ring is None in the summary": with_summary(compaction=None),
    "energy of ring is [0.6, 0.4] in the summary": with_summary(energy=[0.6, 0.4]),
    "layers of ring is 2 in the summary, 3 by the cells": with_summary(layers=2),
    "null of ring is False in the summary": with_summary(null=False),
    "z_score of ring is 9": with_summary(z_score=9.0),
    "p_value of ring is 0.01 in the summary, which its cells do not give": with_summary(
        p_value=0.01, p_holm=0.01
    ),
    "edges of ring is None": without("summary", "edges"),
    "nodes of ring is 27.0 in the summary, 26": with_cell(1, nodes=8),
    "its cells cannot be pooled": without("cells", "circular"),
    "its cells cannot be pooled (ZeroDivisionError": lambda values: with_cell(0, compaction_permuted_sd=0)(
        with_cell(1, compaction_permuted_sd=0)(with_cell(2, compaction_permuted_sd=0)(values))
    ),
    "no number for nodes": with_cell(1, nodes=10**400),
    "its cells cannot be pooled (OverflowError": with_cell(1, isolated=10**400),
    "nodes of ring is 1000": with_summary(nodes=10**400),
    "its seeds are no list: 0": lambda values: values | {"setting": values["setting"] | {"seeds": 0}},
    "its seeds are no list: '0'": lambda values: values | {"setting": values["setting"] | {"seeds": "0"}},
    "its setting is a list": lambda values: values | {"setting": []},
    "its cells are no list of objects": lambda values: values | {"cells": [1]},
    "its summary are no list of objects": lambda values: values | {"summary": "all"},
    "it lacks cells": lambda values: {name: one for name, one in values.items() if name != "cells"},
}


@pytest.mark.parametrize(("told", "change"), AMISS.items(), ids=AMISS)
def test_what_a_record_lacks_or_contradicts_is_named_wherever_the_draw_falls(tmp_path, told, change):
    values = change(json.loads(record().to_json()))
    (tmp_path / "one.json").write_text(json.dumps(values), encoding="utf-8")
    record().to_json(tmp_path / "other.json")
    assert told in named(tmp_path)
    assert told in named(tmp_path / "one.json")


@pytest.mark.parametrize("rows", [("p_value", 0.05, 0.05), ("p_value", None, None)])
def test_p_value_of_a_single_cell_is_that_of_the_summary(tmp_path, rows):
    _, of_cell, of_summary = rows
    one = recorded(cell("a", p_value=of_cell))
    (row,) = one.summary_rows
    for p_value, agrees in ((of_summary, True), (0.2, False)):
        summary = (row | {"p_value": p_value, "p_holm": p_value},)
        dataclasses.replace(one, summary_rows=summary).to_json(tmp_path / "one.json")
        found = verify_records(tmp_path, 1, 0, same)
        assert all(result["agrees"] for result in found) == agrees


def test_correction_by_holm_is_made_again(tmp_path):
    cells = tuple(cell(layer, p_value=0.05) for layer in "abc")
    rows = tuple(row | {"p_value": 0.05, "p_holm": 0.01} for row in recorded(*cells).summary_rows)
    dataclasses.replace(recorded(*cells), summary_rows=rows).to_json(tmp_path / "one.json")
    assert "p_holm of ring is 0.01, by Holm it is 0.05" in named(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1]", b"{}", b"NaN", b"\xff\xfe", b"[" * 100_000, b'{"setting": 1, "cells": {}}']
)
def test_file_that_is_no_record_is_named_alone_and_beside_others(folder, content):
    (folder / "broken.json").write_bytes(content)
    for place in (folder, folder / "broken.json"):
        assert named(place).startswith(
            ("broken.json: this is no ", "broken.json: a comparison is a JSON object")
        )


def test_record_that_is_cut_off_anywhere_is_named(folder):
    text = (folder / "first.json").read_bytes()
    for length in range(0, len(text) - 1, len(text) // 40):
        (folder / "first.json").write_bytes(text[:length])
        assert "first.json: this is no " in named(folder)


def test_number_that_is_not_a_number_is_none(tmp_path):
    values = json.loads(record().to_json())
    values["cells"][0]["compaction"] = math.nan
    (tmp_path / "one.json").write_text(json.dumps(values), encoding="utf-8")
    assert "no number for compaction" in named(tmp_path)


def test_records_that_were_made_here_do_not_contradict_themselves():
    folder = Path(__file__).parents[3] / "tutorials" / "records" / "comparisons"
    found = verify_records(folder, 3, 0, same)
    assert [row["agrees"] for row in found] == [True] * 3


def test_draw_depends_on_the_seed_alone(folder):
    draws = [[one["cell"] for one in verify_records(folder, 2, seed, same)] for seed in (3, 3, 4, 5)]
    assert draws[0] == draws[1]
    assert len({tuple(draw) for draw in draws}) > 1


@pytest.mark.parametrize("cells", [0, 7])
def test_number_of_cells_is_one_that_can_be_drawn(folder, cells):
    with pytest.raises(ValueError, match="1 to 6 can be drawn"):
        verified(folder, cells=cells)


def test_files_of_other_kinds_are_left_alone_and_none_at_all_is_refused(folder):
    (folder / "report.html").write_text("", encoding="utf-8")
    assert list(read_records(folder)) == ["first.json", "second.json"]
    with pytest.raises(ValueError, match="no record"):
        read_records(folder / "missing.json")
    (folder / "none").mkdir()
    with pytest.raises(ValueError, match="holds no record"):
        read_records(folder / "none")
