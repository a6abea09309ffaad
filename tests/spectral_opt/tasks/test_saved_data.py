"""Data as `datasets` keeps it: Parquet, Arrow, folders of `save_to_disk`, splits, and names of classes."""

import datasets
import pytest

from spectral_opt.errors import DataError
from spectral_opt.tasks import load_labelled_text, load_text

FEATURES = datasets.Features(text=datasets.Value("string"), label=datasets.ClassLabel(names=["neg", "pos"]))
ROWS = {"text": ["a", "b", "c", "d"], "label": [1, 0, 1, 0]}


@pytest.fixture
def rows():
    return datasets.Dataset.from_dict(ROWS, features=FEATURES)


def saved(rows, form, tmp_path):
    if form == "parquet":
        rows.to_parquet(tmp_path / "d.parquet")
        return tmp_path / "d.parquet"
    if form == "jsonl":
        datasets.Dataset.from_dict(
            {**ROWS, "label": [FEATURES["label"].names[at] for at in ROWS["label"]]}
        ).to_json(tmp_path / "d.jsonl")
        return tmp_path / "d.jsonl"
    rows.save_to_disk(tmp_path / "d")
    return next((tmp_path / "d").glob("*.arrow")) if form == "arrow" else tmp_path / "d"


@pytest.mark.parametrize("form", ["parquet", "arrow", "folder", "jsonl"])
def test_every_form_has_the_same_texts_and_classes(rows, form, tmp_path):
    found = load_labelled_text(saved(rows, form, tmp_path))
    assert found.texts == ("a", "b", "c", "d")
    assert [found.label_names[at] for at in found.labels] == ["pos", "neg", "pos", "neg"]
    assert found.shipped_split is None
    assert found.provenance.identity.startswith("sha256 ")


def test_splits_are_parts_and_test_rows_go_first(rows, tmp_path):
    test = datasets.Dataset.from_dict({"text": ["a", "z", "y"], "label": [1, 0, 0]}, features=FEATURES)
    datasets.DatasetDict(train=rows, test=test).save_to_disk(tmp_path / "d")
    found = load_labelled_text(tmp_path / "d")
    assert found.texts == ("a", "z", "y", "b", "c", "d")
    assert found.shipped_split == ("test",) * 3 + ("train",) * 3


def test_a_column_that_one_split_lacks_is_none(rows, tmp_path):
    datasets.DatasetDict(train=rows, test=rows.remove_columns("label")).save_to_disk(tmp_path / "d")
    with pytest.raises(DataError, match="no column 'label'; it has 'text'"):
        load_labelled_text(tmp_path / "d")
    assert len(load_text(tmp_path / "d")) == 4


def test_labels_are_chosen_by_their_column(rows, tmp_path):
    rows.rename_column("label", "stars").to_parquet(tmp_path / "d.parquet")
    assert load_labelled_text(tmp_path / "d.parquet", label_column="stars").label_names == ("neg", "pos")


def test_a_folder_of_files_is_read_by_the_splits_in_their_names(rows, tmp_path):
    folder = tmp_path / "d"
    (folder / "data").mkdir(parents=True)
    rows.select([0, 1]).to_parquet(folder / "data" / "train-00000-of-00002.parquet")
    rows.select([2, 3]).to_parquet(folder / "data" / "train-00001-of-00002.parquet")
    rows.select([0]).to_parquet(folder / "data" / "test-00000-of-00001.parquet")
    (folder / "dataset_infos.json").write_text("{}")
    found = load_labelled_text(folder)
    assert found.texts == ("a", "b", "c", "d")
    assert found.shipped_split == ("test", "train", "train", "train")
    assert found.label_names == ("neg", "pos")
    assert "folder d, 3 files .parquet of 4" in str(found.provenance)


def test_a_wrong_row_of_a_folder_is_told_with_its_file(tmp_path):
    (tmp_path / "train.jsonl").write_text('{"text": "a"}\n')
    (tmp_path / "val.jsonl").write_text('{"text": "b"}\n\n{"text": [1]}\n')
    with pytest.raises(DataError, match=r"val, line 3: 'text' is a list"):
        load_text(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        '[{"text": "a", "label": 1}, {"text": "b"}]',
        '{"version": 2, "data": [{"text": "a", "label": 1}, {"text": "b"}]}',
        '{"text": ["a", "b"], "label": [1, null]}',
        '{"text": {"0": "a", "1": "b"}, "label": {"0": 1, "1": null}}',
        '{"text": "a", "label": 1}\n{"text": "b"}\n',
    ],
    ids=["list", "under a key", "columns", "pandas", "lines"],
)
def test_json_has_rows_in_any_of_its_forms(tmp_path, content):
    path = tmp_path / "d.json"
    path.write_text(content)
    assert load_text(path).texts == ("a", "b")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("d.json", '[{"text": "a"', r"d\.json is not JSON: "),
        ("d.json", "3", r"d\.json is a int"),
        ("d.json", '[{"text": "a"}, "b"]', r"d\.json, row 2 is a str"),
        ("d.json", '[{"text": ["a"]}]', "row 1: 'text' is a list"),
        ("d.parquet", "no parquet", r"d\.parquet is no parquet file: "),
        ("d.arrow", "no arrow", r"d\.arrow is no arrow file: "),
        ("d/state.json", "{}", "cannot read the data set in "),
        ("d/dataset_dict.json", '{"splits": []}', "the data set in .*d has no split"),
        (
            "d/rows.odt",
            "text",
            r"the folder .*d holds no data: files of \.csv, .*, or what `save_to_disk`",
        ),
    ],
)
def test_a_wrong_file_or_folder_is_one_clear_line(tmp_path, name, content, message):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    with pytest.raises(DataError, match=message) as raised:
        load_text(path if "/" not in name else path.parent)
    assert "\n" not in str(raised.value)
