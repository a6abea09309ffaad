"""Conversations become answers, each with all that came before it; what has none is counted."""

import json

import pytest

from spectral_opt.errors import DataError
from spectral_opt.tasks import load_answers

ASK, REPLY = {"role": "user", "content": "a film"}, {"role": "assistant", "content": "good"}
MORE, AGAIN = {"role": "user", "content": "why"}, {"role": "assistant", "content": "a long film"}


def lines(tmp_path, *rows, name="chat.jsonl"):
    path = tmp_path / name
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_each_turn_of_the_assistant_is_an_answer_to_all_before_it(tmp_path):
    found = load_answers(
        lines(tmp_path, {"messages": [ASK, REPLY, MORE, AGAIN]}, {"messages": [MORE, REPLY]})
    )
    assert found.asked == ((ASK,), (ASK, REPLY, MORE), (MORE,))
    assert found.answered == ((REPLY,), (AGAIN,), (REPLY,))
    assert found.rows == (0, 0, 1)
    assert found.has_messages


@pytest.mark.parametrize(
    ("row", "asked", "answered"),
    [
        ({"prompt": "a film: ", "completion": "good"}, "a film: ", "good"),
        ({"prompt": [ASK], "completion": [REPLY]}, (ASK,), (REPLY,)),
        (
            {"conversations": [{"from": "human", "value": "a film"}, {"from": "gpt", "value": "good"}]},
            (ASK,),
            (REPLY,),
        ),
        ({"instruction": "a film", "input": "", "output": "good"}, (ASK,), (REPLY,)),
        ({"question": "a film", "answer": "good"}, (ASK,), (REPLY,)),
        (
            {"instruction": "rate", "input": "a film", "output": "good"},
            ({"role": "user", "content": "rate\n\na film"},),
            (REPLY,),
        ),
    ],
    ids=["texts", "messages", "ShareGPT", "Alpaca", "question", "instruction with input"],
)
def test_every_form_of_an_answer_is_read(tmp_path, row, asked, answered):
    found = load_answers(lines(tmp_path, row))
    assert (found.asked, found.answered) == ((asked,), (answered,))


def test_what_has_no_answer_or_is_there_twice_is_counted(tmp_path):
    rows = [{"messages": [ASK, REPLY]}, {"messages": [ASK]}, {"messages": [ASK, REPLY]}, {"messages": []}]
    found = load_answers(lines(tmp_path, *rows))
    assert len(found) == 1
    assert dict(found.provenance.dropped) == {"no answer": 2, "duplicate answer": 1}
    drawn = load_answers(lines(tmp_path, *rows[:1] * 3), max_rows=1)
    assert list(drawn.provenance.dropped.values()) == [2]


def test_zero_is_an_answer_and_white_space_is_none(tmp_path):
    sums = lines(tmp_path, {"question": "2 - 2?", "answer": 0}, {"question": "1 + 1?", "answer": " \n"})
    found = load_answers(sums)
    assert [answer[0]["content"] for answer in found.answered] == ["0"]
    assert dict(found.provenance.dropped) == {"no answer": 1}
    silent = lines(
        tmp_path, {"messages": [ASK, {"role": "assistant", "content": " "}]}, {"messages": [ASK, REPLY]}
    )
    assert dict(load_answers(silent).provenance.dropped) == {"no answer": 1}


def test_parts_that_files_name_are_known(tmp_path):
    lines(tmp_path, {"messages": [ASK, REPLY]}, name="train.jsonl")
    lines(tmp_path, {"messages": [MORE, AGAIN]}, name="test.jsonl")
    assert sorted(load_answers(tmp_path).shipped_split or ()) == ["test", "train"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"text": "a film"}], "has the columns 'text': conversations are in 'messages'"),
        ([{"messages": [ASK]}], "no answer to learn from"),
        ([{"messages": "a film"}], "line 1: 'messages' is no conversation"),
        ([{"prompt": "a film", "completion": [REPLY]}], "must both be texts, or both messages"),
        (
            [{"prompt": "a", "completion": "b"}, {"prompt": [ASK], "completion": [REPLY]}],
            "answers of texts and of messages",
        ),
    ],
)
def test_what_is_no_conversation_is_named(tmp_path, rows, message):
    with pytest.raises(DataError, match=message):
        load_answers(lines(tmp_path, *rows))
