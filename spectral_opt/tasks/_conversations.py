"""Conversations as texts: each written out by the chat template of the tokenizer that will read it."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from transformers import PreTrainedTokenizerBase

from paramgraph.errors import one_line
from spectral_opt.errors import DataError
from spectral_opt.tasks.tokenizers import TokenizerLike

Message: TypeAlias = Mapping[str, Any]  # Any: parts and calls of tools are what a template makes of them

# Where data sets keep them, the first that is there.
COLUMNS = (("messages",), ("conversations",), ("conversation",), ("prompt", "completion"))
# ShareGPT's names of speakers; all others are called the same in templates.
ROLES = {"human": "user", "gpt": "assistant"}
SPEAKER, SAID = ("role", "from"), ("content", "value")


def conversation_columns(present: Sequence[str]) -> tuple[str, ...]:
    """Find the columns that hold conversations by their names; empty where there are none."""
    return next((columns for columns in COLUMNS if set(columns) <= set(present)), ())


def is_conversation(value: object) -> bool:
    """Say whether a value is a list of messages, each with a speaker and what was said."""
    if isinstance(value, dict):  # how `datasets` kept a list of messages before its version 4
        return bool(set(SPEAKER) & set(value)) and all(isinstance(part, list) for part in value.values())
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(message, Mapping) and set(SPEAKER) & set(message) for message in value)
    )


def write_conversations(
    shown: str,
    columns: Sequence[str],
    values: Sequence[Sequence[object]],
    tools: Sequence[object] | None,
    place: Callable[[int], str],
    tokenizer: TokenizerLike | None,
) -> tuple[list[str | None], str]:
    """Write each row out as one text, and say how; a DataError for what is no conversation.

    `values` are a column of conversations, or prompts and completions: texts, which follow each other as they are, or
    messages. Missing values stay missing.
    """
    names = " and ".join(map(repr, columns))
    rows = list(zip(*values, strict=True))
    if all(isinstance(part, str) or part is None for row in rows for part in row):
        if len(columns) == 1:
            raise DataError(
                f"{shown}: {names} holds texts, no conversations; name it as the column of the text"
            )
        plain = [None if None in row else "".join(map(str, row)) for row in rows]
        return plain, f"texts: {names}, one after the other"
    known = _template_of(shown, names, tokenizer)
    written: list[str | None] = []
    for at, row in enumerate(rows):
        if None in row or [] in row:
            written.append(None)
            continue
        where = f"{shown}, {place(at)}"
        messages = [
            message
            for column, part in zip(columns, row, strict=True)
            for message in messages_of(where, column, part)
        ]
        written.append(_rendered(where, known, messages, tools[at] if tools is not None else None))
    return written, f"conversations: {names}, written out by the tokenizer's chat template"


def _template_of(shown: str, names: str, tokenizer: TokenizerLike | None) -> PreTrainedTokenizerBase:
    if tokenizer is None:
        raise DataError(
            f"{shown}: {names} holds conversations: give the tokenizer whose chat template writes them out"
        )
    known = tokenizer if isinstance(tokenizer, PreTrainedTokenizerBase) else tokenizer()
    if not known.chat_template:
        raise DataError(
            f"{shown}: {names} holds conversations, and the tokenizer has no chat template: take the model's version "
            "for chat, set tokenizer.chat_template and save it with the model, or name a column of plain texts"
        )
    return known


def messages_of(where: str, column: str, value: object) -> list[dict[str, Any]]:
    """Give the messages of a conversation, each with a role and a content; a DataError for what is none."""
    if not is_conversation(value):
        raise DataError(
            f"{where}: {column!r} is no conversation; each is a list of messages, as "
            '[{"role": "user", "content": "..."}] or [{"from": "human", "value": "..."}]'
        )
    if isinstance(value, dict):
        if len(set(map(len, value.values()))) > 1:
            raise DataError(
                f"{where}: {column!r} has lists of several lengths: {', '.join(map(repr, value))}"
            )
        value = [dict(zip(value, parts, strict=True)) for parts in zip(*value.values(), strict=True)]
    assert isinstance(value, list), "is_conversation has looked"
    return [_message(message) for message in value]


def _message(message: Message) -> dict[str, Any]:
    # Arrow fills the keys that other messages have with null.
    found = {name: part for name, part in message.items() if part is not None}
    role = (
        next(str(found.pop(name)) for name in SPEAKER if name in found)
        if set(SPEAKER) & set(found)
        else "user"
    )
    content = next((found.pop(name) for name in SAID if name in found), "")
    if isinstance(content, list) and all(
        isinstance(part, Mapping) and isinstance(part.get("text"), str) for part in content
    ):
        content = "".join(part["text"] for part in content)  # most templates of texts know no parts
    return {"role": ROLES.get(role, role), "content": content, **found}


def _rendered(
    where: str, tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, Any]], tools: object
) -> str:
    if isinstance(tools, str):
        try:
            tools = json.loads(tools) if tools.strip() else None
        except (ValueError, RecursionError) as error:
            raise DataError(f"{where}: 'tools' is not JSON: {error}") from error
    return _without_added(tokenizer, render_conversation(where, tokenizer, messages, tools))


def render_conversation(
    where: str,
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Message],
    tools: object = None,
    answer_follows: bool = False,
) -> str:
    """Write messages out by the tokenizer's chat template, with its marks of begin and end; DataError if it refuses.

    Where an answer follows, the text ends with the mark of its begin.
    """
    try:
        text = tokenizer.apply_chat_template(
            list(messages), tools=tools or None, tokenize=False, add_generation_prompt=answer_follows
        )
        return str(text)
    except ImportError:
        raise
    except Exception as error:  # a template raises what it likes
        raise DataError(
            f"{where}: the tokenizer's chat template refuses the conversation: {one_line(error)}"
        ) from error


def _without_added(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    """Take off the marks of begin and end that the tokenizer adds by itself, so that none is there twice."""
    added = tokenizer("")["input_ids"]
    if added and tokenizer.bos_token and added[0] == tokenizer.bos_token_id:
        text = text.removeprefix(str(tokenizer.bos_token))
    if added and tokenizer.eos_token and added[-1] == tokenizer.eos_token_id:
        text = text.removesuffix(str(tokenizer.eos_token))
    return text
