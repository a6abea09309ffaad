"""What `refine` writes to a folder says what it is, whoever calls it."""

import copy

import pytest
from huggingface_hub import ModelCard
from torch import nn

from spectral_opt import Refiner, SpectralConfig, refine

RING = SpectralConfig(builder="ring", response="heat", response_options={"t": 0.5}, exclude=["pooler.dense"])


@pytest.fixture
def folders(base_and_tuned):
    """Folders of a base and of a fine-tune with a card of its own."""
    card = "---\nlicense: mit\ntags: [reviews]\n---\n\n# By hand\n"
    (base_and_tuned / "tuned" / "README.md").write_text(card)
    return base_and_tuned


def test_the_card_says_what_was_done_and_keeps_that_of_the_fine_tune(folders):
    (folders / "out").mkdir()
    (folders / "out" / "README.md").write_text("my notes")
    for _ in range(2):  # the second time there is a card of ours, which is no one's notes
        state = refine(folders / "base", folders / "tuned", RING, out=folders / "out", overwrite=True)
    card = ModelCard.load(folders / "out" / "README.md")
    head = card.data.to_dict()
    assert (head["license"], head["library_name"]) == ("mit", "transformers")
    assert head["tags"] == ["spectral-opt", "refined"]
    assert "base_model" not in head  # a folder is no name of the hub's
    assert f"fine-tuned from {folders / 'base'}" in card.text
    assert f"{state.norm_kept:.3f} of the norm of its change is left" in card.text
    assert "SpectralConfig(builder='ring', " in card.text
    assert "response='heat', response_options={'t': 0.5}" in card.text
    assert all(f"- {remark}\n" in card.text for remark in state.remarks)
    assert "`transformers.BertForSequenceClassification.from_pretrained(FOLDER)`" in card.text
    own = (folders / "tuned" / "README.md").read_text()
    assert (folders / "out" / "README.of_the_fine_tune.md").read_text() == own
    assert (folders / "out" / "README.earlier.md").read_text() == "my notes"
    assert not (folders / "out" / "README.earlier1.md").exists()


def test_a_response_or_a_factor_that_took_the_place_of_the_configs_is_in_the_card(folders):
    refiner = Refiner(folders / "base", RING)
    refiner.save(folders / "tuned", folders / "other", responses=["identity"])
    assert "response='identity')" in (folders / "other" / "README.md").read_text()
    refiner.save(folders / "tuned", folders / "scaled", factor=0.4)
    scaled = (folders / "scaled" / "README.md").read_text()
    assert "its change scaled by 0.4; 0.400 of the norm" in scaled
    assert "SpectralConfig" not in scaled


def test_a_strength_that_was_found_is_in_the_card(folders, tiny_batches):
    state = refine(
        folders / "base",
        folders / "tuned",
        "preserve",
        {"preserve": tiny_batches},
        out=folders / "out",
        keep=0.9,
        graph="columns",
        rest="base",
    )
    assert f"\n- {state.remarks[0]}\n" in (folders / "out" / "README.md").read_text()


def test_models_in_memory_are_named_by_their_class_and_an_adapter_is_loaded_on_its_base(
    lora_transformer, tmp_path
):
    bare = copy.deepcopy(lora_transformer).unload()
    refine(bare, lora_transformer, RING, out=tmp_path / "adapter")
    card = ModelCard.load(tmp_path / "adapter" / "README.md")
    assert card.data.to_dict()["library_name"] == "peft"
    assert "`peft.PeftModel.from_pretrained(BASE, FOLDER)`" in card.text
    assert not (tmp_path / "adapter" / "README.of_the_fine_tune.md").exists()  # PEFT's own is an empty form
    base, tuned = nn.Sequential(nn.Linear(3, 8)), nn.Sequential(nn.Linear(3, 8))
    refine(base, tuned, SpectralConfig(builder="ring"), out=tmp_path / "plain")
    card = ModelCard.load(tmp_path / "plain" / "README.md")
    assert "a Sequential in memory, fine-tuned from a Sequential in memory, its change filtered" in card.text
    assert not {"base_model", "library_name", "license"} & set(card.data.to_dict())
