import csv
import json
from dataclasses import asdict

import pytest

from spectral_opt.study import RunRecord, append_record, write_results


@pytest.fixture
def record():
    return RunRecord("adamw", "reviews", 0, {"learning_rate": 1e-4}, {"accuracy": 0.7}, 1.5, "tuning")


def test_a_record_says_with_which_versions_and_on_what(record):
    assert {"python", "torch", "transformers", "paramgraph"} <= set(record.versions)
    assert {"machine", "processor", "cores", "torch_threads"} <= set(record.hardware)


def test_each_record_is_one_line_of_json_behind_the_others(record, tmp_path):
    path = tmp_path / "records.jsonl"
    append_record(path, record)
    append_record(path, record)
    assert [json.loads(line) for line in path.read_text().splitlines()] == [asdict(record)] * 2


def test_a_record_does_not_grow_onto_one_that_was_cut_off(record, tmp_path):
    path = tmp_path / "records.jsonl"
    path.write_text('{"method": "ad')
    append_record(path, record)
    assert json.loads(path.read_text().splitlines()[1]) == asdict(record)


def test_a_number_that_json_does_not_know_is_refused(record, tmp_path):
    broken = RunRecord("adamw", "reviews", 0, {}, {"loss": float("nan")}, 1.0, "tuning")
    with pytest.raises(ValueError, match="not JSON compliant"):
        append_record(tmp_path / "records.jsonl", broken)


def test_files_of_results_have_the_plain_values_and_a_row_for_each_number(tmp_path):
    rows = [{"metric": "accuracy", "value": 0.7}, {"metric": "drift", "value": None}]
    write_results({"seed": 0}, rows, ("metric", "value"), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results.csv", "results.json"]
    assert json.loads((tmp_path / "results.json").read_text()) == {"seed": 0}
    with (tmp_path / "results.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [["metric", "value"], ["accuracy", "0.7"], ["drift", ""]]


def test_results_that_cannot_be_written_leave_the_old_files_whole(tmp_path):
    write_results({"loss": 1.0}, [], ("metric",), tmp_path)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_results({"loss": float("nan")}, [], ("metric",), tmp_path)
    with pytest.raises(ValueError, match="fields not in fieldnames"):
        write_results({"loss": 2.0}, [{"other": 1}], ("metric",), tmp_path)
    assert (tmp_path / "results.csv").read_text() == "metric\n"
