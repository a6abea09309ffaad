"""Files of the user: three formats, and one clear line for each way in which a file can be wrong."""

import hashlib

import pytest

from spectral_opt.errors import DataError
from spectral_opt.tasks import read_file

COLUMNS = {"text": "text", "label": "label"}


def write(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("d.csv", 'text,label\n"good, really",1\nbad,0\n'),
        ("d.csv", '\ufefftext,label\r\n"good, really",1\r\nbad,0\r\n'),
        ("d.CSV", 'label,text\n1,"good, really"\n\n0,bad'),
        ("d.tsv", "text\tlabel\ngood, really\t1\nbad\t0\n"),
        ("d.jsonl", '{"text": "good, really", "label": 1}\n\n{"label": "0", "text": "bad"}'),
    ],
    ids=["csv", "byte-order mark", "other order", "tsv", "jsonl"],
)
def test_the_same_rows_come_from_every_format(tmp_path, name, content):
    path = write(tmp_path, name, content)
    table = read_file(path, COLUMNS)
    assert table.columns == {"text": ["good, really", "bad"], "label": ["1", "0"]}
    assert table.name == "d"
    assert table.identity == f"sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}"


def test_line_ends_stay_inside_quotes(tmp_path):
    path = write(tmp_path, "d.csv", 'text,label\n"two\nlines",1\n')
    assert read_file(path, COLUMNS).columns["text"] == ["two\nlines"]


def test_words_for_missing_values_are_texts(tmp_path):
    path = write(tmp_path, "d.csv", "text,label\nNA,None\n")
    assert read_file(path, COLUMNS).columns == {"text": ["NA"], "label": ["None"]}


def test_json_null_and_absent_keys_are_missing_values(tmp_path):
    path = write(tmp_path, "d.jsonl", '{"text": null, "label": true}\n{"text": "a", "other": [1]}\n')
    assert read_file(path, COLUMNS).columns == {"text": [None, "a"], "label": ["true", None]}


def test_a_unicode_line_separator_does_not_break_a_json_line(tmp_path):
    path = write(tmp_path, "d.jsonl", '{"text": "a\u2028b", "label": 1}\n')
    assert read_file(path, COLUMNS).columns["text"] == ["a\u2028b"]


@pytest.mark.parametrize("content", ["", "text,label\n"], ids=["no byte", "header only"])
def test_an_empty_file_is_an_empty_table(tmp_path, content):
    assert read_file(write(tmp_path, "d.csv", content), COLUMNS).columns == {"text": [], "label": []}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("d.csv", "review,stars\na,1\n", "no column 'text'; it has 'review', 'stars'"),
        ("d.csv", "review,stars\n", "no column 'text'; it has 'review', 'stars'"),
        ("d.jsonl", '{"text": "a", "stars": 1}\n', "no column 'label'; it has 'text', 'stars'"),
        ("d.xlsx", "", r"its suffix is '\.xlsx', allowed are \.csv, \.tsv, \.jsonl"),
        ("d", "", "its suffix is 'missing'"),
        ("d.csv", b"text,label\ncaf\xe9,1\n", r"not UTF-8 \(byte 0xe9 at position 14\): convert it"),
        ("d.csv", "text,label\na,b,1\n", "line 2: 3 fields under 2 column names"),
        ("d.csv", 'text,label\n"a"b,1\n', "line 2: "),
        ("d.csv", "text,label,text\na,1,b\n", "two columns of the same name"),
        ("d.jsonl", '{"text": "a"\n', "line 1 is not JSON"),
        ("d.jsonl", "[1, 2]\n", "line 1 is a list"),
        ("d.jsonl", '{"text": ["a"], "label": 1}\n', "line 1: 'text' is a list"),
    ],
)
def test_a_wrong_file_is_one_clear_line(tmp_path, name, content, message):
    with pytest.raises(DataError, match=message) as raised:
        read_file(write(tmp_path, name, content), COLUMNS)
    assert "\n" not in str(raised.value)


def test_a_folder_with_the_right_suffix_cannot_be_read(tmp_path):
    (tmp_path / "d.csv").mkdir()
    with pytest.raises(DataError, match="cannot read"):
        read_file(tmp_path / "d.csv", COLUMNS)
