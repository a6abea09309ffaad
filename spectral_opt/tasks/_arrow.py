"""Data as the `datasets` library keeps it: Parquet and Arrow files, folders of `save_to_disk`, and splits."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from spectral_opt.errors import DataError
from spectral_opt.tasks._rows import Rows, join_rows

ARROW = (".parquet", ".arrow")
# What `save_to_disk` leaves in a folder: of several splits, or of one.
MARKS = ("dataset_dict.json", "state.json")


def datasets_library(what: str) -> Any:  # Any: the library is not typed
    """Import `datasets`, or name its pip line."""
    try:
        import datasets
    except ImportError as error:
        raise ImportError(f"{what} needs the datasets library: pip install 'paramgraph[data]'") from error
    return datasets


def read_arrow(path: Path) -> Rows:
    """Read a Parquet or Arrow file; class names that `datasets` wrote into it are known."""
    datasets = datasets_library(str(path))
    import pyarrow.parquet

    try:
        if path.suffix.lower() == ".arrow":
            found = datasets.Dataset.from_file(str(path))
        else:
            # In memory: the library's own reader keeps a second copy of every file in a cache.
            found = datasets.Dataset(datasets.table.InMemoryTable(pyarrow.parquet.read_table(path)))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except Exception as error:  # pyarrow raises what the broken file makes of it
        raise DataError(f"{path} is no {path.suffix[1:]} file: {' '.join(str(error).split())}") from error
    return rows_of_splits({"": found}, path.stem, str(path), f"file {path.name}", digest_of([path]))


def is_saved(path: Path) -> bool:
    """Say whether `save_to_disk` wrote a folder."""
    return any((path / mark).is_file() for mark in MARKS)


def read_saved(path: Path) -> Rows:
    """Read what `save_to_disk` wrote into a folder: a data set, or several splits."""
    datasets = datasets_library(str(path))
    try:
        found = datasets.load_from_disk(str(path))
    except Exception as error:  # broken files of others raise what they like
        raise DataError(f"cannot read the data set in {path}: {' '.join(str(error).split())}") from error
    splits = found if isinstance(found, dict) else {str(found.split or ""): found}
    if not splits:
        raise DataError(f"the data set in {path} has no split")
    files = sorted(file for file in path.rglob("*") if file.is_file())
    name = path.resolve().name
    return rows_of_splits(splits, name, str(path), f"folder {name}", digest_of(files))


def rows_of_splits(
    splits: Mapping[str, Any],
    name: str,
    shown: str,
    source: str,
    identity: str = "",
    licence: str = "",
) -> Rows:
    """Put the splits of a data set one after another; classes are words where they have names.

    Columns are those that every split has. One split without a name is no split.
    """
    stated = next(iter(splits.values())).info.license
    parts = {split: [_rows(part, split or name, shown)] for split, part in splits.items()}
    return join_rows(parts, name, shown, source, identity, licence or stated or "not stated")


def _rows(part: Any, name: str, shown: str) -> Rows:
    names = {column: getattr(feature, "names", None) for column, feature in part.features.items()}

    def read(column: str) -> list[object]:
        values, classes = list(part[column]), names[column]
        # -1 stands for the hidden labels of a benchmark's test part.
        return [None if at is None or at < 0 else classes[at] for at in values] if classes else values

    declared = {column: classes for column, classes in names.items() if classes}
    return Rows(
        name,
        shown,
        "",
        part.column_names,
        part.num_rows,
        read,
        lambda at: f"row {at + 1}",
        class_names=declared,
    )


def digest_of(files: Iterable[Path]) -> str:
    """Pin the content of some files: sha256, of several of all of theirs."""
    digests = []
    for file in files:
        with file.open("rb") as stream:
            digests.append(hashlib.file_digest(stream, "sha256").hexdigest())
    whole = digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    return f"sha256 {whole}"
