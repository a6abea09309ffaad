"""What names a column, or a subset, is of the data that have it, whichever of two that is."""

import json
from pathlib import Path

import datasets
import pytest

from spectral_opt.cli import main
from spectral_opt.finetuning import FineTuneOptions, preview

from helpers.word_models import FILLER

TEXTS = [f"the {one} of the {word}" for one in FILLER[:3] for word in FILLER]


@pytest.fixture
def places(tmp_path) -> dict[str, str]:
    """The same texts, under their own column, under the usual one, and as plain text."""
    for column in ("body", "text"):
        (tmp_path / f"{column}.csv").write_text("\n".join([column, *TEXTS]))
    (tmp_path / "plain.txt").write_text("\n\n".join(TEXTS))
    return {**{Path(file).stem: str(file) for file in tmp_path.iterdir()}, "hamlet": "hamlet"}


@pytest.mark.parametrize("other", ["hamlet", "plain", "text"])
@pytest.mark.parametrize("which", ["data", "evaluate_on"])
def test_a_column_is_of_the_data_that_have_it(decoder, places, which, other):
    beside = "evaluate_on" if which == "data" else "data"
    found = preview(
        FineTuneOptions(
            model=str(decoder),
            task="causal-lm",
            text_column="body",
            max_rows=len(TEXTS),
            max_length=60,
            **{which: places["body"], beside: places[other]},
        )
    )
    counted = dict(reversed(part.split()) for part in found.facts["examples"].split(", "))
    assert int(counted["train" if which == "data" else "evaluation"]) == len(TEXTS)


def test_a_column_may_be_of_the_text_to_be_preserved_alone(decoder, places):
    options = FineTuneOptions(
        model=str(decoder),
        task="causal-lm",
        text_column="body",
        max_rows=len(TEXTS),
        data="hamlet",
        spectral="preserve",
        preserve=places["body"],
    )
    assert f"preserved texts: {len(TEXTS)}" in preview(options).facts["remarks"]


def test_groups_and_labels_are_of_the_data_that_have_them(encoder, tmp_path, capsys):
    own, other = tmp_path / "own.csv", tmp_path / "other.csv"
    rows = [
        (f"{text} {at}", ("bad", "good")[at % 2], at // 4) for at, text in enumerate(TEXTS[:8] + TEXTS[:8])
    ]
    own.write_text("\n".join(["body,stars,author", *(",".join(map(str, row)) for row in rows)]))
    other.write_text("text,label\na film,good\na story,bad\nthe plot,good\nthe actor,bad\n")
    line = f"finetune --model {encoder} --data {own} --task classification --max-steps 1 --evaluate-every 1"
    columns = "--text-column body --label-column stars --group-column author"
    out = tmp_path / "out"
    assert main(f"{line} {columns} --evaluate-on {other} --out {out}".split()) == 0, capsys.readouterr().err
    record = json.loads((out / "run.json").read_text())
    assert record["sizes"] == {"train": 16, "evaluation": 4}
    told = json.dumps(record["origins"]["data"])
    assert "read by the column 'text', as it has none named 'body'" in told
    assert "read by the column 'label', as it has none named 'stars'" in told


@pytest.mark.parametrize("which", ["data", "evaluate_on"])
def test_a_subset_is_of_the_data_on_the_hub(decoder, places, monkeypatch, which):
    asked = []

    def load_dataset(path, name=None, **_):
        asked.append((path, name))
        return datasets.DatasetDict(train=datasets.Dataset.from_dict({"text": TEXTS}))

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    beside = "evaluate_on" if which == "data" else "data"
    names = {which: "owner/texts", beside: places["plain"]}
    preview(FineTuneOptions(model=str(decoder), task="causal-lm", subset="clean", max_length=60, **names))
    assert set(asked) == {("owner/texts", "clean")}
