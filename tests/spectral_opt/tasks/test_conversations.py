"""Conversations of data sets for chat: found by their columns, written out by the tokenizer's own template."""

import copy
import json

import datasets
import pytest

from spectral_opt.errors import DataError
from spectral_opt.tasks import load_text, read_paragraphs

TEMPLATE = "{% for m in messages %}<{{ m['role'] }}> {{ m['content'] }} {% endfor %}"
ASKED = [{"role": "user", "content": "a film"}, {"role": "assistant", "content": "good"}]
WRITTEN = "<user> a film <assistant> good "


@pytest.fixture
def chat(tokenizer):
    known = copy.deepcopy(tokenizer)
    known.chat_template = TEMPLATE
    return known


def lines(tmp_path, *rows):
    path = tmp_path / "chat.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


@pytest.mark.parametrize(
    "row",
    [
        {"messages": ASKED},
        {"conversations": [{"from": "human", "value": "a film"}, {"from": "gpt", "value": "good"}]},
        {"prompt": ASKED[:1], "completion": ASKED[1:]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "a film"}]}, ASKED[1]]},
        {"messages": [dict(ASKED[0], tool_calls=None), ASKED[1]]},
    ],
    ids=["messages", "ShareGPT", "prompt and completion", "parts", "null keys"],
)
def test_every_form_is_written_out_by_the_template(tmp_path, chat, row):
    found = load_text(lines(tmp_path, row), tokenizer=chat)
    assert found.texts == (WRITTEN,)
    assert any("chat template" in note for note in found.provenance.notes)


def test_the_text_is_the_templates_own(tmp_path, chat):
    (text,) = load_text(lines(tmp_path, {"messages": ASKED}), tokenizer=chat).texts
    assert text == chat.apply_chat_template(ASKED, tokenize=False)


def test_plain_prompts_and_completions_follow_each_other_without_a_template(tmp_path):
    found = load_text(lines(tmp_path, {"prompt": "one and ", "completion": "two"}))
    assert found.texts == ("one and two",)


def test_a_column_of_texts_goes_before_conversations(tmp_path):
    assert load_text(lines(tmp_path, {"text": "plain", "messages": ASKED})).texts == ("plain",)


def test_a_column_named_by_the_user_may_hold_them(tmp_path, chat):
    assert load_text(lines(tmp_path, {"talk": ASKED}), "talk", tokenizer=chat).texts == (WRITTEN,)


def test_the_tokenizer_is_loaded_for_conversations_alone(tmp_path, chat):
    def refuse():
        raise AssertionError("asked for a tokenizer")

    assert read_paragraphs(str(lines(tmp_path, {"text": "plain"})), tokenizer=refuse).texts == ("plain",)
    assert read_paragraphs(str(lines(tmp_path, {"messages": ASKED})), tokenizer=lambda: chat).texts == (
        WRITTEN,
    )


def test_a_saved_data_set_gives_the_same_as_its_json(tmp_path, chat):
    datasets.DatasetDict(train=datasets.Dataset.from_list([{"messages": ASKED}])).save_to_disk(
        tmp_path / "saved"
    )
    assert load_text(tmp_path / "saved", tokenizer=chat).texts == (WRITTEN,)


def test_marks_that_the_tokenizer_adds_are_not_there_twice(tmp_path, chat):
    chat.bos_token, chat.eos_token = "[CLS]", "[SEP]"
    chat.chat_template = "[CLS]" + TEMPLATE + "[SEP]"
    (text,) = load_text(lines(tmp_path, {"messages": ASKED}), tokenizer=chat).texts
    assert chat(text)["input_ids"].count(chat.bos_token_id) == 1
    assert chat(text)["input_ids"] == chat("[CLS]" + text + "[SEP]", add_special_tokens=False)["input_ids"]


def test_tools_reach_the_template(tmp_path, chat):
    chat.chat_template = "{{ tools[0]['function']['name'] }}: " + TEMPLATE
    tool = {"type": "function", "function": {"name": "search", "parameters": {}}}
    for tools in ([tool], json.dumps([tool])):
        (text,) = load_text(lines(tmp_path, {"messages": ASKED, "tools": tools}), tokenizer=chat).texts
        assert text == f"search: {WRITTEN}"


@pytest.mark.parametrize("tools", ["", " ", "[]", None, []])
def test_a_row_without_tools_is_written_out_as_if_there_were_no_such_column(tmp_path, chat, tools):
    chat.chat_template = "{% if tools %}tools {% endif %}" + TEMPLATE
    (text,) = load_text(lines(tmp_path, {"messages": ASKED, "tools": tools}), tokenizer=chat).texts
    assert text == WRITTEN


def test_a_missing_conversation_is_an_empty_text_that_is_counted(tmp_path, chat):
    found = load_text(
        lines(tmp_path, {"messages": ASKED}, {"messages": None}, {"messages": []}), tokenizer=chat
    )
    assert (len(found), dict(found.provenance.dropped)) == (1, {"empty text": 2})


@pytest.mark.parametrize(
    ("row", "template", "message"),
    [
        (
            {"messages": ASKED},
            None,
            "'messages' holds conversations, and the tokenizer has no chat template: take",
        ),
        ({"messages": "talk"}, TEMPLATE, "'messages' holds texts, no conversations"),
        (
            {"messages": [["a", "b"]]},
            TEMPLATE,
            r"line 1: 'messages' is no conversation; each is a list of messages",
        ),
        (
            {"messages": ASKED},
            "{{ raise_exception('roles must alternate') }}",
            "refuses .*: roles must alternate",
        ),
        ({"chosen": ASKED}, TEMPLATE, "has no column 'text'; it has 'chosen'"),
        ({"messages": ASKED, "tools": "{"}, TEMPLATE, "line 1: 'tools' is not JSON: "),
        (
            {"messages": {"role": ["user", "assistant"], "content": ["a film"]}},
            TEMPLATE,
            "line 1: 'messages' has lists of several lengths: 'role', 'content'",
        ),
    ],
)
def test_what_cannot_be_written_out_is_one_clear_line(tmp_path, chat, row, template, message):
    chat.chat_template = template
    with pytest.raises(DataError, match=message) as raised:
        load_text(lines(tmp_path, row), tokenizer=chat)
    assert "\n" not in str(raised.value)


def test_without_a_tokenizer_one_is_asked_for(tmp_path):
    with pytest.raises(DataError, match="give the tokenizer whose chat template"):
        load_text(lines(tmp_path, {"messages": ASKED}))
