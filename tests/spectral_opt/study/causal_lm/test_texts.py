"""Blocks of a job: documents are told apart, and nothing of a test part is chosen on."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from spectral_opt.errors import DataError, ModelError
from spectral_opt.study import LanguageTask, MethodGrid, Part, StudyPlan, check_sources, open_setting
from spectral_opt.study.causal_lm import read_language_texts
from spectral_opt.tasks import check_causal, load_model

from helpers.word_models import FILLER, OPINIONS, VOCABULARY, save_word_llama, save_word_model

WORDS = (*FILLER, *OPINIONS[0], *OPINIONS[1])


def paragraph(source: int, number: int) -> str:
    """Draw 40 words by the number of a paragraph and of its source."""
    return " ".join(np.random.default_rng([source, number]).choice(WORDS, size=40))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(save_word_llama(tmp_path_factory.mktemp("models") / "word-llama"))


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    """Twelve letters of three paragraphs, and four other sources of twelve paragraphs."""
    folder = tmp_path_factory.mktemp("texts")
    rows = [f"{paragraph(0, at)},letter {at // 3}" for at in range(36)]
    (folder / "letters.csv").write_text("\n".join(["text,letter", *rows]))
    for source in range(1, 6):
        text = "\n\n".join(paragraph(source, at) for at in range(12))
        (folder / f"text{source}.txt").write_text(text)
    texts = [str(folder / f"text{source}.txt") for source in range(1, 6)]
    return LanguageTask(
        "letters",
        str(folder / "letters.csv"),
        calibration=(texts[0], texts[1]),
        selection=(texts[2],),
        held_out=(texts[3], texts[4]),
        document_column="letter",
        steps=5,
        batch_size=2,
        length=16,
        dev_size=6,
        test_size=20,
        preserved=9,
        measured=7,
    )


def planned(task, model, stage="confirmation", seed=0, shots=8):
    part = Part("part", stage, (task.name,), (shots,), (seed,), (MethodGrid("adamw"),))
    return StudyPlan("study", model, (task,), (part,))


def read(task, model, **options):
    plan = planned(task, model, **options)
    return read_language_texts(plan, plan.jobs()[0])


def rows_of(blocks):
    return {tuple(row) for row in blocks["input_ids"].tolist()}


def test_parts_have_their_sizes_and_share_no_block(task, model):
    found = read(task, model)
    parts = {"train": 8, "rest": 20, "dev": 6, "scored": 20, "preserved": 9}
    blocks = {name: rows_of(getattr(found, name)) for name in parts}
    # Of 20 paragraphs of 120 words, 36 / 12 a letter: train, rest and dev take what the test part leaves.
    assert {name: len(own) for name, own in blocks.items() if name != "rest"} == {
        name: size for name, size in parts.items() if name != "rest"
    }
    every = [*blocks.values(), *map(rows_of, found.measured.values())]
    assert len(set.union(*every)) == sum(map(len, every))
    assert [len(rows_of(own)) for own in found.measured.values()] == [7, 7]
    assert sum(found.documents.values()) == 12
    assert all(torch.equal(own["labels"], own["input_ids"]) for own in (found.train, found.scored))


def test_the_test_part_is_the_same_under_every_seed_and_dev_is_not(task, model):
    large = replace(task, test_size=10)
    first, second = (read(large, model, seed=seed) for seed in (0, 1))
    assert first.documents["test"] == second.documents["test"] == 4
    assert rows_of(first.dev) != rows_of(second.dev)
    # All ten blocks of one draw are among those that the other could draw.
    whole = rows_of(read(replace(task, test_size=30), model).scored)
    assert rows_of(first.scored) | rows_of(second.scored) <= whole


def test_tuning_scores_dev_and_opens_nothing_that_is_held_out(task, model, tmp_path):
    gone = replace(task, held_out=(str(tmp_path / "none.txt"),))
    found = read(gone, model, stage="tuning")
    assert rows_of(found.scored) == rows_of(found.dev)
    assert list(found.measured) == list(task.selection)


@pytest.mark.parametrize(
    ("change", "shots", "message"),
    [
        ({"document_column": "author"}, 8, "has no column 'author'"),
        ({"test_size": 400}, 8, "the test part has 3. blocks, and 400 are to be drawn: ask for fewer"),
        ({"measured": 400}, 8, "text4.txt has 3. blocks, and 400 are to be drawn"),
        (
            {"dev_size": 60},
            8,
            "documents are left beside the test part, and dev takes . of them for 60 blocks",
        ),
        (
            {},
            400,
            "400 are to be trained on, and some of the others to build graphs from; ask for fewer shots",
        ),
    ],
)
def test_what_is_too_small_is_said(task, model, change, shots, message):
    with pytest.raises(DataError, match=message):
        read(replace(task, **change), model, shots=shots)


def test_one_document_is_not_split(task, model, tmp_path):
    (tmp_path / "long.txt").write_text(" ".join(paragraph(7, at) for at in range(20)))
    with pytest.raises(DataError, match="has 1 documents, and a split by document needs three at least"):
        read(replace(task, data=str(tmp_path / "long.txt"), document_column=None), model)


def test_a_paragraph_of_two_sources_is_refused_before_any_work(task, model, tmp_path):
    (tmp_path / "copy.txt").write_text(f"{paragraph(9, 0)}\n\n{paragraph(0, 4).upper()}")
    with pytest.raises(DataError, match="share 1 texts"):
        check_sources(planned(replace(task, held_out=(str(tmp_path / "copy.txt"),)), model))
    twice = replace(task, held_out=(task.held_out[0], task.calibration[0]))
    with pytest.raises(DataError, match="are the same texts"):
        check_sources(planned(twice, model))


def test_a_paragraph_of_a_document_is_not_measured_on_elsewhere(task, model, tmp_path):
    documents = [
        "\n\n".join(["Enter the king.", *map(paragraph, [0] * 3, [at, at + 9, at + 18])]) for at in range(9)
    ]
    (tmp_path / "whole.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in documents))
    whole = replace(task, data=str(tmp_path / "whole.jsonl"), document_column=None)
    (tmp_path / "cut.txt").write_text(f"Enter the king.\n\n{paragraph(9, 0)}")
    same = replace(whole, held_out=(str(tmp_path / "cut.txt"),))
    check_sources(planned(same, model))  # three words are nobody's own
    (tmp_path / "cut.txt").write_text(f"{paragraph(9, 0)}\n\n{paragraph(0, 4)}")
    with pytest.raises(DataError, match="share 1 texts"):
        read(same, model)


def test_a_job_made_real_trains_on_all_of_its_blocks_and_freezes_embeddings(task, model):
    plan = planned(task, model)
    setting = open_setting(plan, plan.jobs()[0])
    assert [len(batch["input_ids"]) for batch in setting.training] == [2] * 5
    drawn = rows_of({"input_ids": torch.cat([batch["input_ids"] for batch in setting.training])})
    assert len(drawn) == 8
    frozen = [name for name, value in setting.start.named_parameters() if not value.requires_grad]
    assert frozen == ["model.embed_tokens.weight"]
    assert not setting.start.training
    facts = setting.facts
    assert (facts["sizes"]["train"], facts["documents"]["test"]) == (8, 4)
    assert set(facts["checksums"]) == set(facts["sizes"])
    assert "12 documents by letter" in facts["provenance"]["data"]


@pytest.mark.parametrize("part", ["test", "validation"])
def test_a_test_part_that_is_shipped_stays(task, model, tmp_path, part):
    for split, numbers in (("train", range(24)), (part, range(24, 36))):
        rows = [f'{{"text": "{paragraph(0, at)}"}}' for at in numbers]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(rows))
    found = read(replace(task, data=str(tmp_path), document_column=None, test_size=10), model)
    assert found.documents["test"] == 12
    assert f"the test part is the part {part!r} that the source ships" in found.notes
    words = {word: at for at, word in enumerate(VOCABULARY)}
    tested = [words[word] for at in range(24, 36) for word in [*paragraph(0, at).split(), "[SEP]"]]
    text = " ".join(map(str, tested))
    assert all(" ".join(map(str, row)) in text for row in found.scored["input_ids"].tolist())


def test_a_source_that_fills_no_block_and_positions_that_are_too_few_are_said(task, model, tmp_path):
    (tmp_path / "short.txt").write_text("a film")
    with pytest.raises(
        DataError, match=r"short\.txt fills no block of 16 tokens: give more text, or a smaller"
    ):
        read(replace(task, calibration=(str(tmp_path / "short.txt"),)), model)
    # One block of the first of two sources.
    assert len(read(replace(task, preserved=1), model).preserved["input_ids"]) == 1
    plan = planned(
        replace(task, length=100, dev_size=1, test_size=1, measured=1, preserved=2), model, shots=1
    )
    with pytest.raises(ModelError, match=r"length is 100, and .* has 64 positions: take shorter blocks"):
        open_setting(plan, plan.jobs()[0])


def test_what_predicts_no_next_token_is_refused(task, tmp_path):
    plan = planned(task, str(save_word_model(tmp_path / "word-bert")))
    with pytest.raises(ModelError, match="is no causal language model"):
        open_setting(plan, plan.jobs()[0])


def test_a_checkpoint_without_what_reads_tokens_out_is_refused(task, model, tmp_path):
    loaded = load_model(model, head="language_model")
    body = loaded.encoder.model
    body.config.tie_word_embeddings = False
    for part in (body, loaded.tokenizer):
        part.save_pretrained(tmp_path)
    plan = planned(task, str(tmp_path))
    with pytest.raises(ModelError, match=r"lacks 1 weights, such as lm_head\.weight"):
        open_setting(plan, plan.jobs()[0])


def test_a_broken_checkpoint_is_told_from_one_that_sees_ahead(model):
    loaded = load_model(model, head="language_model")
    with torch.no_grad():
        loaded.encoder.model.norm.weight.fill_(torch.nan)
    with pytest.raises(ModelError, match="are not finite: its checkpoint is broken"):
        check_causal(loaded)
