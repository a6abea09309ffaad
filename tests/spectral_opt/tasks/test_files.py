"""Files of the user: three formats, and one clear line for each way in which a file can be wrong."""

import hashlib
from pathlib import Path

import pytest

from spectral_opt.errors import DataError
from spectral_opt.tasks import load_answers, load_labelled_text, load_text


def write(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("d.csv", 'text,label\n"good, really",1\nfine,1\nbad,0\nworse,0\n'),
        ("d.csv", '\ufefftext,label\r\n"good, really",1\r\nfine,1\r\nbad,0\r\nworse,0\r\n'),
        ("d.CSV", 'label,text\n1,"good, really"\n1,fine\n\n0,bad\n0,worse'),
        ("d.tsv", "text\tlabel\ngood, really\t1\nfine\t1\nbad\t0\nworse\t0\n"),
        (
            "d.jsonl",
            '{"text": "good, really", "label": 1}\n\n{"label": "1", "text": "fine"}\n'
            '{"label": "0", "text": "bad"}\n{"label": 0, "text": "worse"}',
        ),
    ],
    ids=["csv", "byte-order mark", "other order", "tsv", "jsonl"],
)
def test_the_same_rows_come_from_every_format(tmp_path, name, content):
    path = write(tmp_path, name, content)
    data = load_labelled_text(path)
    assert data.texts == ("good, really", "fine", "bad", "worse")
    assert (data.labels.tolist(), data.label_names) == ([1, 1, 0, 0], ("0", "1"))
    assert data.name == "d"
    assert data.provenance.identity == f"sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}"


def test_line_ends_stay_inside_quotes(tmp_path):
    assert load_text(write(tmp_path, "d.csv", 'text,label\n"two\nlines",1\n')).texts == ("two\nlines",)


def test_words_for_missing_values_are_texts(tmp_path):
    data = load_labelled_text(write(tmp_path, "d.csv", "text,label\nNA,None\nnull,None\na,01\nb,01\n"))
    assert data.texts == ("NA", "null", "a", "b")
    assert data.label_names == ("01", "None")


def test_json_null_and_absent_keys_are_missing_values(tmp_path):
    rows = ['{"text": null, "label": true}', '{"text": "a", "other": [1]}']
    rows += [f'{{"text": "{label} {i}", "label": {label}}}' for label in ("true", "false") for i in (0, 1)]
    data = load_labelled_text(write(tmp_path, "d.jsonl", "\n".join(rows)))
    assert data.label_names == ("false", "true")
    assert dict(data.provenance.dropped) == {"empty text": 1, "no label": 1}


def test_a_unicode_line_separator_does_not_break_a_json_line(tmp_path):
    path = write(tmp_path, "d.jsonl", '{"text": "a\u2028b", "label": 1}\n')
    assert load_text(path).texts == ("a\u2028b",)


@pytest.mark.parametrize(
    ("name", "separator", "told"),
    [
        ("d.csv", ";", "file d.csv, separated by semicolons"),
        ("d.csv", "\t", "file d.csv, separated by tabs"),
        ("d.csv", ",", "file d.csv"),
        ("d.tsv", "\t", "file d.tsv"),
        ("d.tsv", ";", "file d.tsv, separated by semicolons"),
    ],
)
def test_what_spreadsheets_separate_by_is_read_off_the_header_and_told(tmp_path, name, separator, told):
    rows = ("text", "label"), *((f'"{n}, and; another"', f'"{n % 2},5"') for n in range(4))
    content = "".join(f"{separator.join(row)}\n" for row in rows)
    data = load_labelled_text(write(tmp_path, name, content))
    assert data.texts[0] == "0, and; another"
    assert data.label_names == ("0,5", "1,5")
    assert data.provenance.source == told


ROWS = "one,a\ntwo,b\nthree,a\nfour,b\n"


@pytest.mark.parametrize(
    "content",
    [
        f"\n \r\ntext,label\n{ROWS}",
        f"sep=,\ntext,label\n{ROWS}",
        f"\nSEP=|\r\n\ntext|label\n{ROWS}".replace(",", "|"),
        f"text,label,,\n{ROWS}".replace("a\n", "a,,\n").replace("b\n", "b,,x\n"),
    ],
    ids=["empty lines", "sep", "another sep", "columns without a name"],
)
def test_what_spreadsheets_leave_around_a_table_is_passed_over(tmp_path, content):
    data = load_labelled_text(write(tmp_path, "d.csv", content))
    assert data.texts == ("one", "two", "three", "four")
    assert data.label_names == ("a", "b")


def test_a_separator_that_a_file_names_itself_is_told(tmp_path):
    path = write(tmp_path, "d.csv", "sep=|\ntext|label\none|a\n")
    assert load_text(path).provenance.source == "file d.csv, separated by '|'"


HALF = "\\ud83d"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "d.jsonl",
            f'{{"text": "a"}}\n{{"text": "b {HALF}"}}\n',
            r"d\.jsonl, line 2: 'text' has half of a char",
        ),
        ("d.json", f'[{{"text": "b {HALF.upper()}"}}]'.replace("U", "u"), r"d\.json, row 1: 'text' has half"),
        (
            "d.jsonl",
            f'{{"messages": [{{"role": "user", "content": "{HALF}"}}]}}',
            "line 1: 'messages' has half",
        ),
    ],
    ids=["lines", "json", "messages"],
)
def test_half_of_a_character_is_refused_where_it_stands(tmp_path, name, content, message):
    with pytest.raises(DataError, match=message):
        load_text(write(tmp_path, name, content))


def test_half_of_a_character_in_a_label_or_an_answer_is_refused(tmp_path):
    rows = f'{{"text": "a", "label": "b{HALF}"}}\n'
    with pytest.raises(DataError, match="line 1: 'label' has half"):
        load_labelled_text(write(tmp_path, "d.jsonl", rows))
    rows = f'{{"instruction": "a", "output": "b{HALF}"}}\n'
    with pytest.raises(DataError, match="line 1: 'output' has half"):
        load_answers(write(tmp_path, "d.jsonl", rows))


def test_whole_characters_are_read_and_halves_in_other_columns_do_no_harm(tmp_path):
    path = write(tmp_path, "d.jsonl", f'{{"text": "{HALF}\\ude00", "other": "{HALF}"}}\n')
    assert load_text(path).texts == ("\U0001f600",)


def test_a_comma_within_the_quotes_of_a_header_separates_nothing(tmp_path):
    content = '"text, in full";label\none;a\ntwo;b\nthree;a\nfour;b\n'
    data = load_labelled_text(write(tmp_path, "d.csv", content), text_column="text, in full")
    assert data.label_names == ("a", "b")


@pytest.mark.parametrize("content", ["", "text,label\n"], ids=["no byte", "header only"])
def test_an_empty_file_is_an_empty_table(tmp_path, content):
    with pytest.raises(DataError, match=r"'d' is empty: file d\.csv; .*0 rows read"):
        load_text(write(tmp_path, "d.csv", content))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("d.csv", "review,stars\na,1\n", "no column 'text'; it has 'review', 'stars'"),
        ("d.csv", "review,stars\n", "no column 'text'; it has 'review', 'stars'"),
        ("d.jsonl", '{"text": "a", "stars": 1}\n', "no column 'label'; it has 'text', 'stars'"),
        ("d.xlsx", "", r"its suffix is '\.xlsx', allowed are \.csv, \.tsv, \.json, "),
        ("d", "", "its suffix is 'missing'"),
        ("d.csv", b"text,label\ncaf\xe9,1\n", r"not UTF-8 \(byte 0xe9 at position 14\): convert it"),
        ("d.csv", "text,label\n€,1\n".encode("utf-16"), "with `iconv -f utf-16 -t utf-8`"),
        ("d.csv", "text,label\n€,1\n".encode("cp1252"), "with `iconv -f cp1252 -t utf-8`"),
        ("d.csv", "text,label\na,b,1\n", "line 2: 3 fields under 2 column names"),
        ("d.csv", 'text,label\n"a"b,1\n', "line 2: "),
        ("d.csv", "text,label,text\na,1,b\n", "two columns of the same name"),
        ("d.csv", "\nsep=,\ntext,label\na,1\na,b,1\n", "line 5: 3 fields under 2 column names"),
        ("d.csv", ",\na,1\n", "line 1: the header names no column"),
        (
            "d.csv",
            '"text", "label"\n"a, b", "1"\n',
            "line 1: white space stands before the quote of ' \"label\"'",
        ),
        ("d.jsonl", '{"text": "a"\n', "line 1 is not JSON"),
        ("d.jsonl", "[1, 2]\n", "line 1 is a list"),
        ("d.jsonl", '{"text": ["a"], "label": 1}\n', "line 1: 'text' is a list"),
    ],
)
def test_a_wrong_file_is_one_clear_line(tmp_path, name, content, message):
    with pytest.raises(DataError, match=message) as raised:
        load_labelled_text(write(tmp_path, name, content))
    assert "\n" not in str(raised.value)


def test_a_file_that_may_not_be_read_says_so(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    path = write(tmp_path, "d.csv", "text\na\n")
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(DataError, match=r"cannot read .*d\.csv: Permission denied"):
        load_text(path)
