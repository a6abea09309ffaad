"""A record of origin is printed, copied and turned into JSON without loss."""

import copy
import json
import pickle

import pytest

from spectral_opt.tasks import Provenance


@pytest.fixture
def record():
    return Provenance("a.csv", "sha256 0", "MIT", 9, {"empty text": 2}, ("one note",))


def test_the_line_states_everything(record):
    assert str(record) == "a.csv; sha256 0; licence: MIT; 9 rows read, 2 dropped (empty text: 2); one note"


def test_it_survives_json_pickle_and_copy(record):
    assert Provenance(**json.loads(json.dumps(record.to_dict()))).to_dict()["dropped"] == {"empty text": 2}
    assert pickle.loads(pickle.dumps(record)) == record
    assert copy.deepcopy(record) == record


def test_its_counts_cannot_be_edited(record):
    with pytest.raises(TypeError):
        record.dropped["empty text"] = 0


def test_a_note_is_added_to_a_copy(record):
    assert record.with_note("two").notes == ("one note", "two")
    assert record.notes == ("one note",)
