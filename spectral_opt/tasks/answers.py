"""Conversations as answers to learn from, each with what it answers: texts as they are, or messages."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from spectral_opt.errors import DataError
from spectral_opt.tasks._conversations import conversation_columns, messages_of
from spectral_opt.tasks._rows import Rows
from spectral_opt.tasks.provenance import Provenance

# Any: parts and calls of tools are what a template makes of them.
Said: TypeAlias = str | tuple[Mapping[str, Any], ...]
# Of instructions in columns of texts, the first that is there; an input stands below its instruction.
ASKED, BESIDE, ANSWERED = ("instruction", "question"), ("input", "context"), ("output", "response", "answer")


@dataclass(frozen=True)
class Answers:
    """Pairs of what is asked and what is answered, at least one; `rows` has for each the row that it came from.

    Both are texts, or messages with a "role" and a "content", which a chat template writes out. `shipped_split` has the
    part of each row where the source has parts. No pair raises DataError.
    """

    name: str
    asked: tuple[Said, ...]
    answered: tuple[Said, ...]
    rows: tuple[int, ...]
    provenance: Provenance
    shipped_split: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not self.asked:
            raise DataError(f"the data set {self.name!r} has no answer to learn from: {self.provenance}")
        if len({isinstance(said, str) for pair in (self.asked, self.answered) for said in pair}) > 1:
            raise DataError(
                f"the data set {self.name!r} has answers of texts and of messages: write all in one way"
            )

    def __len__(self) -> int:
        return len(self.asked)

    @property
    def has_messages(self) -> bool:
        """Whether a chat template writes them out."""
        return not isinstance(self.answered[0], str)


def read_answers(rows: Rows, chosen: Sequence[int], dropped: Mapping[str, int]) -> Answers:
    """Take the answers out of the chosen rows; a DataError names columns that are missing, and what is no conversation.

    Columns "prompt" and "completion" are one pair, as they are; of a conversation ("messages", "conversations") each
    turn of the assistant is an answer to all before it; columns of instructions and outputs, as Alpaca has them,
    become messages. What has no answer, an empty one, or is there twice is dropped, and counted in the provenance.
    """
    columns = conversation_columns(rows.present)
    plain = [
        next((name for name in names if name in rows.present), "") for names in (ASKED, BESIDE, ANSWERED)
    ]
    if not columns and not (plain[0] and plain[2]):
        raise DataError(
            f"{rows.shown} has the columns {', '.join(map(repr, rows.present))}: conversations are in 'messages', "
            "'conversations', 'prompt' and 'completion', or 'instruction' and 'output'"
        )
    read = {name: rows.read(name) for name in (columns or filter(None, plain))}
    counts = Counter(dropped)
    pairs: dict[str, tuple[Said, Said, int]] = {}
    for at in chosen:
        row = {name: values[at] for name, values in read.items()}
        where = f"{rows.shown}, {rows.place(at)}"
        found = list(_of_columns(where, row) if columns else _of_instruction(row, *plain))
        if not found:
            counts["no answer"] += 1
        for asked, answered in found:
            key = repr((asked, answered))
            if key in pairs:
                counts["duplicate answer"] += 1
            else:
                pairs[key] = (asked, answered, at)
    named = " and ".join(map(repr, columns or filter(None, plain)))
    of_turns = len(columns) == 1
    notes = [f"answers: each turn of the assistant in {named}" if of_turns else f"answers: of {named}"]
    if "tools" in rows.present:
        notes.append("the column 'tools' is not read")
    total = len(chosen) + sum(dropped.values())
    return Answers(
        rows.name,
        tuple(asked for asked, _, _ in pairs.values()),
        tuple(answered for _, answered, _ in pairs.values()),
        tuple(at for _, _, at in pairs.values()),
        Provenance(rows.source, rows.identity, rows.licence, total, dict(counts), notes),
        None if rows.split is None else tuple(rows.split[at] for _, _, at in pairs.values()),
    )


def _of_columns(where: str, row: Mapping[str, Any]) -> Iterator[tuple[Said, Said]]:
    if not all(_is_said(part) for part in row.values()):
        return
    if len(row) == 2:
        kinds = {isinstance(part, str) for part in row.values()}
        if len(kinds) > 1:
            raise DataError(f"{where}: {' and '.join(map(repr, row))} must both be texts, or both messages")
        asked, answered = (
            part if isinstance(part, str) else tuple(messages_of(where, name, part))
            for name, part in row.items()
        )
        yield asked, answered
        return
    ((name, value),) = row.items()
    messages = messages_of(where, name, value)
    for at, message in enumerate(messages):
        if message["role"] == "assistant" and at and _is_said(message["content"]):
            yield tuple(messages[:at]), (message,)


def _of_instruction(
    row: Mapping[str, Any], asked: str, beside: str, answered: str
) -> Iterator[tuple[Said, Said]]:
    answer, said = row[answered], [row[asked], row.get(beside)]
    if _is_said(answer) and _is_said(said[0]):
        content = "\n\n".join(str(part) for part in said if _is_said(part))
        yield ({"role": "user", "content": content},), ({"role": "assistant", "content": str(answer)},)


def _is_said(part: object) -> bool:
    """Say whether there is anything: nothing and white space are not, 0 is an answer."""
    return part is not None and part != [] and bool(str(part).strip())
