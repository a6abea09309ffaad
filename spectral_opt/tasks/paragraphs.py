"""Plain text files, whose paragraphs are texts."""

from pathlib import Path

from spectral_opt.errors import DataError
from spectral_opt.tasks._cleaning import Table, clean_unlabelled
from spectral_opt.tasks.files import existing_path
from spectral_opt.tasks.labelled import UnlabelledText
from spectral_opt.tasks.loading import load_text

PLAIN = (".txt", ".md", ".rst", "")


def read_paragraphs(name: str, text_column: str = "text") -> UnlabelledText:
    """Read unlabelled text: a plain text file, whose paragraphs are texts, or whatever `load_text` reads.

    Parameters
    ----------
    name : str
        Path of a text file, of a table, embedded name or data set.
    text_column : str, default "text"
        Of a table.

    Returns
    -------
    UnlabelledText
        Without empty and repeated paragraphs.

    Raises
    ------
    DataError
        If it cannot be read or has no text.
    """
    path = existing_path(name)
    if path is None and Path(name).suffix.lower() in PLAIN[:-1]:
        raise DataError(
            f"no file {name!r}: give a text file, a table (.csv, .tsv, .jsonl), or an embedded name"
        )
    if path is None or not path.is_file() or path.suffix.lower() not in PLAIN:
        return load_text(name, text_column)
    try:
        content = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path} as UTF-8 text: {error}") from error
    paragraphs: list[str | int | None] = [
        " ".join(part.split()) for part in content.split("\n\n") if part.strip()
    ]
    if not paragraphs:
        raise DataError(f"{path} is empty: paragraphs, separated by empty lines, are needed")
    return clean_unlabelled(Table(path.stem, f"file {path.name}", {"text": paragraphs}))
