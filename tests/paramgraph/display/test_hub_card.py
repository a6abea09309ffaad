"""The card of a model: a head that the hub takes, whatever base and licence are called."""

import pytest
from huggingface_hub import ModelCard

from paramgraph.display import model_card


def head(tmp_path, base="google-bert/bert-base-uncased", licence="MIT"):
    card = model_card(
        "A: *model*",
        ["Made of another one."],
        [("Load it", ["by hand"])],
        base=base,
        licence=licence,
        library="transformers",
        task="text-generation",
        tags=["spectral-opt"],
    )
    (tmp_path / "README.md").write_text(card)
    found = ModelCard.load(tmp_path / "README.md")
    assert "# A: *model*" in found.text
    return found.data.to_dict()


@pytest.mark.parametrize(
    ("licence", "expected"),
    [
        ("MIT", ("mit", None)),
        ("Apache-2.0", ("apache-2.0", None)),
        ("MIT; model card Apache-2.0", ("other", "mit-model-card-apache-2.0")),
        ("proprietary", ("other", "proprietary")),
        ("not stated", (None, None)),
        ("", (None, None)),
    ],
)
def test_a_licence_is_one_that_the_hub_knows_or_other_with_its_name(tmp_path, licence, expected):
    found = head(tmp_path, licence=licence)
    assert (found.get("license"), found.get("license_name")) == expected


@pytest.mark.parametrize("base", ["google-bert/bert-base-uncased", "all-MiniLM-L6-v2"])
def test_a_base_of_the_hub_is_in_the_head(tmp_path, base):
    assert head(tmp_path, base=base)["base_model"] == base


@pytest.mark.parametrize("base", ["./base", "/srv/models/base", "models/base/", "a/b/c", "here/base", "mine"])
def test_a_base_that_is_a_folder_is_not(tmp_path, monkeypatch, base):
    monkeypatch.chdir(tmp_path)
    for name in ("here/base", "mine"):
        (tmp_path / name).mkdir(parents=True)
    assert "base_model" not in head(tmp_path, base=base)
