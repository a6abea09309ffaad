"""Plain text files, whose paragraphs are texts."""

import pytest

from spectral_opt.errors import DataError
from spectral_opt.tasks import read_paragraphs


def test_paragraphs_are_texts_and_line_ends_inside_are_spaces(tmp_path):
    file = tmp_path / "notes.txt"
    file.write_text("one\nline\n\nanother\n\n\n\none line\n")
    assert read_paragraphs(str(file)).texts == ("one line", "another")


def test_a_table_is_read_by_its_column(tmp_path):
    file = tmp_path / "notes.csv"
    file.write_text("review\nwell made\n")
    assert read_paragraphs(str(file), "review").texts == ("well made",)


@pytest.mark.parametrize("content", [b"", b" \n\n \n"])
def test_an_empty_file_says_what_is_needed(tmp_path, content):
    (tmp_path / "empty.txt").write_bytes(content)
    with pytest.raises(DataError, match="is empty: paragraphs"):
        read_paragraphs(str(tmp_path / "empty.txt"))


def test_a_missing_file_and_bytes_that_are_no_text_are_named(tmp_path):
    with pytest.raises(DataError, match="no file"):
        read_paragraphs(str(tmp_path / "none.txt"))
    (tmp_path / "latin.txt").write_bytes("gr\xfcn".encode("latin-1"))
    with pytest.raises(DataError, match=r"cannot read .*latin.txt as UTF-8"):
        read_paragraphs(str(tmp_path / "latin.txt"))
