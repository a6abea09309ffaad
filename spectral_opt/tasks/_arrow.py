"""Data as the `datasets` library keeps it: Parquet and Arrow files, folders of `save_to_disk`, and splits."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from spectral_opt.errors import DataError
from spectral_opt.tasks._rows import Rows

ARROW = (".parquet", ".arrow")
# What `save_to_disk` leaves in a folder: of several splits, or of one.
MARKS = ("dataset_dict.json", "state.json")
# Test rows first: a text in two splits is kept where it stands first, so it leaves the training part.
SPLIT_ORDER = ("test", "validation", "dev", "train")


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
    return rows_of_splits({"": found}, path.stem, str(path), f"file {path.name}", _digest([path]))


def read_saved(path: Path) -> Rows:
    """Read what `save_to_disk` wrote into a folder: a data set, or several splits."""
    if not any((path / mark).is_file() for mark in MARKS):
        inside = sorted(file.name for file in path.iterdir() if file.is_file())
        raise DataError(
            f"the folder {path} is none that `save_to_disk` of datasets wrote: name one, or a file"
            + (f", as {path / inside[0]}" if inside else "")
        )
    datasets = datasets_library(str(path))
    try:
        found = datasets.load_from_disk(str(path))
    except Exception as error:  # broken files of others raise what they like
        raise DataError(f"cannot read the data set in {path}: {' '.join(str(error).split())}") from error
    splits = found if isinstance(found, dict) else {str(found.split or ""): found}
    files = sorted(file for file in path.rglob("*") if file.is_file())
    name = path.resolve().name
    return rows_of_splits(splits, name, str(path), f"folder {name}", _digest(files))


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
    order = sorted(splits, key=_rank)
    parts = [splits[split] for split in order]
    present = [name for name in parts[0].column_names if all(name in part.column_names for part in parts)]
    class_names: dict[str, list[str]] = {}
    for column in present:
        names = [
            list(declared) for part in parts if (declared := getattr(part.features[column], "names", None))
        ]
        if names:
            class_names[column] = names[-1]
    stated = parts[0].info.license
    return Rows(
        name,
        shown,
        source,
        present,
        lambda column: [value for part in parts for value in _values(part, column)],
        lambda at: f"row {at + 1}",
        identity,
        licence or stated or "not stated",
        class_names,
        None
        if order == [""]
        else [split for split, part in zip(order, parts, strict=True) for _ in range(part.num_rows)],
    )


def _values(part: Any, column: str) -> Iterable[object]:
    names = getattr(part.features[column], "names", None)
    values = list(part[column])
    # -1 stands for the hidden labels of a benchmark's test part.
    return [None if at is None or at < 0 else names[at] for at in values] if names else values


def _rank(split: str) -> tuple[int, str]:
    return (SPLIT_ORDER.index(split) if split in SPLIT_ORDER else len(SPLIT_ORDER), split)


def _digest(files: Iterable[Path]) -> str:
    digests = []
    for file in files:
        with file.open("rb") as stream:
            digests.append(hashlib.file_digest(stream, "sha256").hexdigest())
    whole = digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    return f"sha256 {whole}"
