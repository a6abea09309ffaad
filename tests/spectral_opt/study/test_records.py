import json
from dataclasses import asdict

import pytest

from spectral_opt.study import RunRecord, append_record


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


def test_a_number_that_json_does_not_know_is_refused(record, tmp_path):
    broken = RunRecord("adamw", "reviews", 0, {}, {"loss": float("nan")}, 1.0, "tuning")
    with pytest.raises(ValueError, match="not JSON compliant"):
        append_record(tmp_path / "records.jsonl", broken)
