"""The one door to texts: embedded, a file, or a Hugging Face data set."""

import difflib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from paramgraph.checkpoints import existing_path
from spectral_opt.errors import DataError, NoColumnError
from spectral_opt.tasks._arrow import ARROW, digest_of, is_saved, read_arrow, read_saved
from spectral_opt.tasks._cleaning import Table, clean_labelled, clean_unlabelled
from spectral_opt.tasks._embedded import EMBEDDED_TEXTS, read_embedded, texts_of
from spectral_opt.tasks._files import WRITTEN, read_utf8, read_written
from spectral_opt.tasks._hub import read_hub
from spectral_opt.tasks._rows import SPLIT_ORDER, Rows, choose_columns, join_rows, option_of
from spectral_opt.tasks.answers import Answers, read_answers
from spectral_opt.tasks.labelled import LabelledText, UnlabelledText
from spectral_opt.tasks.tokenizers import TokenizerLike

# Suffixes of text files whose paragraphs are texts.
PLAIN = (".txt", ".md", ".rst", "")
SUFFIXES = (*WRITTEN, *ARROW)
# What names of files call the parts of a data set.
SPLITS = {"valid": "validation", "val": "validation"} | {name: name for name in SPLIT_ORDER}


def list_texts(*, labelled: bool | None = None) -> list[str]:
    """List the names of the embedded texts, sorted: all, or only those with or without labels.

    Each is fetched when it is read and not before; what its licence is, `text_licences` says.

    >>> list_texts(labelled=True)
    ['20_newsgroups', 'bbc', 'reuters_r8', 'rotten_tomatoes', 'sotu_eras']
    """
    return sorted(name for name, text in EMBEDDED_TEXTS.items() if labelled in (None, text.labelled))


def text_licences() -> dict[str, str]:
    """Give the licence of each embedded text, by its name, sorted."""
    return {name: EMBEDDED_TEXTS[name].wheel.licence for name in list_texts()}


def load_labelled_text(
    name_or_path: str | Path = "rotten_tomatoes",
    text_column: str = "text",
    label_column: str = "label",
    group_column: str | None = None,
    seed: int = 0,
    *,
    max_rows: int | None = None,
    subset: str | None = None,
    revision: str | None = None,
    tokenizer: TokenizerLike | None = None,
) -> LabelledText:
    """Load texts with one class each.

    `name_or_path` is an embedded name (`list_texts`), a `.csv`, `.tsv`, `.json` or `.jsonl` file in UTF-8, a
    `.parquet` or `.arrow` file, a folder of such files or one that `save_to_disk` of datasets wrote, or a Hugging
    Face data set; of several splits all are read. Columns are those of a file or data set; embedded texts have their
    own, and other names are refused. Columns of conversations ("messages", "conversations", "prompt" and "completion")
    stand in for a missing column of texts, and are written out by the chat template of `tokenizer`, a tokenizer or a
    function that loads one.
    `group_column` names what a split must keep together. At most `max_rows` rows are drawn by `seed` before
    cleaning. Empty, unlabelled, contradictory and duplicate texts are dropped; how many of each is in the
    provenance. `subset` and `revision` are of a data set on the hub. DataError says if there is no such text,
    a column is missing (NoColumnError), nothing remains, there is one class only, or a class has one example;
    DownloadError, if an embedded text is neither in the cache nor can be downloaded.

    >>> load_labelled_text().label_names
    ('fresh', 'rotten')
    """
    columns = {"text": text_column, "label": label_column}
    if group_column is not None:
        columns["group"] = group_column
    if len(set(columns.values())) < len(columns):
        raise DataError(
            f"one column cannot serve twice: {', '.join(f'{k}={v!r}' for k, v in columns.items())}"
        )
    known = EMBEDDED_TEXTS.get(str(name_or_path))
    if known is not None and not known.labelled:
        raise NoColumnError(
            f"the text {str(name_or_path)!r} has no labels: read it with load_text, or choose one of "
            f"{', '.join(list_texts(labelled=True))}"
        )
    return clean_labelled(_draw(_read(name_or_path, columns, subset, revision, tokenizer), max_rows, seed))


def load_text(
    name_or_path: str | Path,
    text_column: str = "text",
    seed: int = 0,
    *,
    max_rows: int | None = None,
    subset: str | None = None,
    revision: str | None = None,
    tokenizer: TokenizerLike | None = None,
    document_column: str | None = None,
) -> UnlabelledText:
    """Load texts without labels; those of a labelled text too.

    Arguments and errors are those of `load_labelled_text`. Empty and duplicate texts are dropped, and counted
    in the provenance. `document_column` becomes metadata; of an embedded text all its further columns do.

    >>> len(load_text("plots"))
    1083
    """
    columns = {"text": text_column} | ({document_column: document_column} if document_column else {})
    if document_column in ("text", text_column):
        raise DataError(f"one column cannot serve twice: text={text_column!r}, document={document_column!r}")
    return clean_unlabelled(_draw(_read(name_or_path, columns, subset, revision, tokenizer), max_rows, seed))


def load_answers(
    name_or_path: str | Path,
    seed: int = 0,
    *,
    max_rows: int | None = None,
    subset: str | None = None,
    revision: str | None = None,
) -> Answers:
    """Load conversations as answers, each with what it answers, from a file, a folder or a data set on the hub.

    `max_rows`, `subset`, `revision` and errors are those of `load_labelled_text`; the embedded texts have none. How
    columns become answers, `Answers` and its provenance say.
    """
    if str(name_or_path) in EMBEDDED_TEXTS:
        raise DataError(f"the embedded text {str(name_or_path)!r} has no conversations: {_choices()}")
    rows = _rows(name_or_path, subset, revision)
    chosen, dropped = _drawn(rows.count, max_rows, seed)
    return read_answers(rows, chosen, dropped)


def is_same_source(first: str, second: str) -> bool:
    """Say whether two names are those of the same texts: one place on disk, or one embedded text with other labels."""
    places = [existing_path(name) for name in (first, second)]
    if first == second or (first in EMBEDDED_TEXTS and second in EMBEDDED_TEXTS):
        return texts_of(first) == texts_of(second)
    return None not in places and len({place.resolve() for place in places if place}) == 1


def read_paragraphs(
    name: str,
    text_column: str = "text",
    tokenizer: TokenizerLike | None = None,
    seed: int = 0,
    *,
    max_rows: int | None = None,
    subset: str | None = None,
    document_column: str | None = None,
) -> UnlabelledText:
    """Read unlabelled text: a plain text file, whose paragraphs are texts, or whatever `load_text` reads.

    `max_rows` texts or paragraphs are drawn, as in `load_text`. Empty and repeated ones are dropped. DataError says if
    it cannot be read or has no text.
    """
    path = existing_path(name)
    if path is None and Path(name).suffix.lower() in PLAIN[:-1]:
        raise DataError(
            f"no file {name!r}: give a text file, a table ({', '.join(SUFFIXES)}), or an embedded name"
        )
    if path is not None and path.is_file() and path.suffix.lower() not in (*PLAIN, *SUFFIXES):
        raise DataError(
            f"cannot read {path}: its suffix is {path.suffix!r}, allowed are {', '.join(PLAIN[:-1])} for paragraphs, "
            f"and {', '.join(SUFFIXES)}"
        )
    if not _is_plain(path):
        return load_text(
            name,
            text_column,
            seed,
            max_rows=max_rows,
            subset=subset,
            tokenizer=tokenizer,
            document_column=document_column,
        )
    assert path is not None, "plain text is a file"
    _refuse_words_of_the_hub(str(path), subset, None)
    unread = document_column if text_column == "text" else text_column
    if unread is not None:
        raise NoColumnError(f"{path} is plain text and has no column {unread!r}: its paragraphs are texts")
    content = read_utf8(path)[1].replace("\r\n", "\n").replace("\r", "\n")
    # A line of spaces alone looks empty.
    paragraphs: list[str | int | None] = [
        " ".join(part.split()) for part in re.split(r"\n\s*\n", content) if part.strip()
    ]
    if not paragraphs:
        raise DataError(f"{path} is empty: paragraphs, separated by empty lines, are needed")
    table = _draw(Table(path.stem, f"file {path.name}", {"text": paragraphs}), max_rows, seed)
    return replace(clean_unlabelled(table), unit="paragraphs (between empty lines)")


def read_text_beside(
    name: str, text_column: str = "text", tokenizer: TokenizerLike | None = None
) -> UnlabelledText:
    """Read unlabelled text that stands beside other data: by their column, else by "text", which its notes then say.

    What has columns of its own, or none, is read as it is: an embedded text, or plain text. Other arguments and
    errors are those of `read_paragraphs`.
    """
    if name in EMBEDDED_TEXTS or _is_plain(existing_path(name)):
        return read_paragraphs(name, tokenizer=tokenizer)
    try:
        return read_paragraphs(name, text_column, tokenizer)
    except NoColumnError:
        found = read_paragraphs(name, tokenizer=tokenizer)
    note = f"read by the column 'text', as it has none named {text_column!r}"
    return replace(found, provenance=found.provenance.with_note(note))


def column_beside(
    name: str, column: str, usual: str, others: Sequence[str], subset: str | None = None
) -> str:
    """Choose the column by which texts are read that stand beside others: the `usual` one where these have `column`.

    What has it itself is read by it, and so is what stands beside none that has, which is an error when it is read.
    An embedded text has columns of its own alone, and plain text has none.
    """
    if column == usual or _has_column(name, column, subset):
        return column
    return usual if any(_has_column(other, column, subset) for other in others) else column


def is_on_hub(name: str) -> bool:
    """Say whether a name is looked for on the hub: neither embedded nor a place on disk."""
    return name not in EMBEDDED_TEXTS and existing_path(name) is None


def _has_column(name: str, column: str, subset: str | None) -> bool:
    if name in EMBEDDED_TEXTS or _is_plain(existing_path(name)):
        return False
    return column in _rows(name, subset if is_on_hub(name) else None, None).present


def _read(
    name_or_path: str | Path,
    columns: Mapping[str, str],
    subset: str | None,
    revision: str | None,
    tokenizer: TokenizerLike | None,
) -> Table:
    if str(name_or_path) in EMBEDDED_TEXTS:
        _refuse_words_of_the_hub(str(name_or_path), subset, revision)
        table = read_embedded(str(name_or_path))
        for name, column in columns.items():
            if column != name or column not in table.columns:
                raise NoColumnError(
                    f"the embedded text {table.name!r} is read by its own columns ({', '.join(table.columns)}), and "
                    f"{column!r} would be ignored: leave {option_of(name)} out"
                )
        return table
    return choose_columns(_rows(name_or_path, subset, revision), columns, tokenizer)


def _is_plain(path: Path | None) -> bool:
    return path is not None and path.is_file() and path.suffix.lower() in PLAIN


def _refuse_words_of_the_hub(asked: str, subset: str | None, revision: str | None) -> None:
    for name, value in (("subset", subset), ("revision", revision)):
        if value is not None:
            raise DataError(
                f"{name} is {value!r}, and {asked} is not on the hub: it would be ignored; leave it out"
            )


def _rows(name_or_path: str | Path, subset: str | None, revision: str | None) -> Rows:
    asked = str(name_or_path)
    path = existing_path(asked)
    if path is not None:
        _refuse_words_of_the_hub(asked, subset, revision)
        return _read_local(path)
    looks_like_path = isinstance(name_or_path, Path) or asked.startswith((".", "/", "~")) or "\\" in asked
    if not asked or looks_like_path or Path(asked).suffix.lower() in SUFFIXES or asked.count("/") > 1:
        raise DataError(f"no file {asked!r}: {_choices()}")
    near = difflib.get_close_matches(asked.lower(), EMBEDDED_TEXTS, n=1, cutoff=0.75)
    if near:
        raise DataError(f"no data set named {asked!r}; did you mean {near[0]!r}? {_choices()}")
    return read_hub(asked, subset=subset, revision=revision)


def _read_local(path: Path) -> Rows:
    suffix = path.suffix.lower()
    if path.is_dir():
        return read_saved(path) if is_saved(path) else _read_folder(path)
    if suffix not in SUFFIXES:
        raise DataError(
            f"cannot read {path}: its suffix is {suffix or 'missing'!r}, allowed are {', '.join(SUFFIXES)}"
        )
    return read_arrow(path) if suffix in ARROW else read_written(path)


def _read_folder(path: Path) -> Rows:
    """Read the data files of a folder, of the one form that most of them have; their names say the splits."""
    inside = [file for file in sorted(path.rglob("*")) if file.suffix.lower() in SUFFIXES]
    inside = [
        file for file in inside if not any(part.startswith(".") for part in file.relative_to(path).parts)
    ]
    forms = Counter(file.suffix.lower() for file in inside)
    if not forms:
        raise DataError(
            f"the folder {path} holds no data: files of {', '.join(SUFFIXES)}, or what `save_to_disk` of datasets wrote"
        )
    form = max(forms, key=lambda one: (one in ARROW, forms[one]))  # beside them may lie descriptions in JSON
    chosen = [file for file in inside if file.suffix.lower() == form]
    parts: dict[str, list[Rows]] = {}
    for file in chosen:
        words = re.split(r"[^a-z]+", str(file.relative_to(path)).lower())
        split = next((SPLITS[word] for word in words if word in SPLITS), "")
        parts.setdefault(split, []).append(_read_local(file))
    name = path.resolve().name
    source = f"folder {name}, {len(chosen)} files {form} of {len(inside)}"
    return join_rows(parts, name, str(path), source, digest_of(chosen), "not stated")


def _choices() -> str:
    return (
        f"name one of the embedded ({', '.join(list_texts())}), an existing file ({', '.join(SUFFIXES)}), a folder "
        "of them or of `save_to_disk`, or a Hugging Face data set (owner/name)"
    )


def _draw(table: Table, max_rows: int | None, seed: int) -> Table:
    chosen, dropped = _drawn(len(table.columns["text"]), max_rows, seed)
    if not dropped:
        return table
    columns: dict[str, Sequence[str | int | None]] = {
        name: [values[i] for i in chosen] for name, values in table.columns.items()
    }
    return Table(
        table.name,
        table.source,
        columns,
        table.identity,
        table.licence,
        table.label_names,
        {**dropped, **table.dropped},
        table.notes,
    )


def _drawn(rows: int, max_rows: int | None, seed: int) -> tuple[list[int], dict[str, int]]:
    """Draw rows by their places, and count those that were not."""
    if max_rows is None or max_rows >= rows:
        return list(range(rows)), {}
    if max_rows < 1:
        raise DataError(f"max_rows is {max_rows}: it must be at least 1, or None for all rows")
    # Sorted: the draw must not change which copy of a duplicate comes first.
    chosen = np.sort(np.random.default_rng(seed).permutation(rows)[:max_rows]).tolist()
    return chosen, {f"not among the {max_rows} drawn (seed {seed})": rows - max_rows}
