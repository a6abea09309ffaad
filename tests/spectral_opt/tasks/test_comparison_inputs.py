"""What `paramgraph compare` runs on: which model meets which text, and with what loss."""

import importlib.metadata
import random
import re
from pathlib import Path

import pytest
import torch
from transformers import BertForSequenceClassification, BertModel, GPT2Config, GPT2LMHeadModel, T5Config

import paramgraph
from paramgraph.inputs import InputOptions, InputProvider
from spectral_opt.errors import DataError, ModelError
from spectral_opt.tasks import comparison_inputs, folder_of, open_inputs

SMALL = InputOptions(batches=4, batch_size=3, max_length=12)
WORDS = ("a", "film", "long", "short", "good", "bad")


@pytest.fixture
def rows():
    generator = random.Random(0)
    texts = sorted({" ".join(generator.choices(WORDS, k=6)) for _ in range(120)})
    generator.shuffle(texts)
    return texts


@pytest.fixture
def labelled(tmp_path, rows):
    file = tmp_path / "labelled.csv"
    lines = [f"{text},{('no', 'yes')['good' in text]}" for text in rows]
    file.write_text("\n".join(["text,label", *lines]) + "\n")
    return str(file)


@pytest.fixture
def plain(tmp_path, rows):
    file = tmp_path / "plain.txt"
    file.write_text("\n\n".join(rows))
    return str(file)


@pytest.fixture
def language_model(tmp_path, tokenizer):
    folder = tmp_path / "gpt"
    config = GPT2Config(
        vocab_size=len(tokenizer), n_embd=8, n_layer=1, n_head=2, bos_token_id=3, eos_token_id=3
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        GPT2LMHeadModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def classifier_folder(tmp_path, encoder, tokenizer):
    folder = tmp_path / "classifier"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder.config.label2id, encoder.config.id2label = {"yes": 0, "no": 1}, {0: "yes", 1: "no"}
        BertForSequenceClassification(encoder.config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def test_it_is_found_by_the_entry_point():
    (entry,) = importlib.metadata.entry_points(group="paramgraph.inputs", name="spectral_opt")
    assert isinstance(entry.load(), InputProvider)
    assert entry.load().folder_of is comparison_inputs.folder_of


def test_an_encoder_with_labelled_text_gets_a_probed_head(model_folder, labelled):
    found = open_inputs(str(model_folder), labelled, SMALL)
    assert len(found.batches) == 4
    assert all(batch["input_ids"].shape[0] == 3 for batch in found.batches)
    assert not found.no_gradients
    tables = paramgraph.node_tables(found.model, exclude=found.exclude)
    assert list(tables) == [
        name for name in paramgraph.rows(BertModel.from_pretrained(model_folder)) if "pooler" not in name
    ]
    gradients = paramgraph.collect(found.model, tables, "gradients", found.batches, found.loss)
    assert all(value.abs().sum() > 0 for value in gradients.values())
    (loss,) = (note for note in found.notes if "linear probe" in note)
    assert re.search(
        r"of \d+ others of each, .* \d+% right, where any one class is 50%, macro F1 \d\.\d\d", loss
    )
    (text,) = (note for note in found.notes if note.startswith("text: "))
    assert "texts by class: " in text


def test_texts_of_the_batches_did_not_fit_the_head(model_folder, labelled, monkeypatch):
    seen = []
    real = comparison_inputs.tokenize_batches

    def note(tokenizer, texts, labels=None, **options):
        seen.append(set(texts))
        return real(tokenizer, texts, labels, **options)

    monkeypatch.setattr(comparison_inputs, "tokenize_batches", note)
    open_inputs(str(model_folder), labelled, SMALL)
    train, dev, measured = seen
    assert not measured & (train | dev)
    assert len(measured) == 12


def test_the_same_seed_gives_the_same_batches_and_another_seed_others(model_folder, labelled):
    one, same, other = (
        open_inputs(
            str(model_folder), labelled, InputOptions(batches=4, batch_size=3, max_length=12, seed=seed)
        )
        for seed in (0, 0, 1)
    )

    def tokens(found):
        return [batch["input_ids"].tolist() for batch in found.batches]

    assert tokens(one) == tokens(same) != tokens(other)
    assert torch.equal(one.model.classifier.weight, same.model.classifier.weight)


def test_random_states_stay_as_they_were(model_folder, labelled):
    before = torch.get_rng_state()
    open_inputs(str(model_folder), labelled, SMALL)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("form", ["plain", "unlabelled"])
def test_an_encoder_with_text_alone_runs_without_a_loss(model_folder, plain, labelled, form):
    if form == "unlabelled":
        renamed = Path(labelled).with_name("unlabelled.csv")
        renamed.write_text(Path(labelled).read_text().replace("text,label", "text,class"))
        plain = str(renamed)
    found = open_inputs(str(model_folder), plain, SMALL)
    assert "gives no labels" in found.no_gradients
    assert f"no loss: {found.no_gradients}" in found.notes
    assert all("labels" not in batch for batch in found.batches)
    read = paramgraph.collect(found.model, paramgraph.rows(found.model), "activations", found.batches)
    assert len(read) == 7


def test_labels_that_were_asked_for_must_be_there(model_folder, labelled, plain):
    with pytest.raises(DataError, match="no column 'stars'"):
        open_inputs(str(model_folder), labelled, InputOptions(label_column="stars"))
    with pytest.raises(DataError, match="plain text file"):
        open_inputs(str(model_folder), plain, InputOptions(task="classification"))


def test_a_language_model_predicts_the_next_token_and_no_padding(language_model, plain):
    found = open_inputs(language_model, plain, SMALL)
    for batch in found.batches:
        assert torch.equal(batch["labels"] == -100, batch["attention_mask"] == 0)
        assert torch.isfinite(found.model(**batch).loss)
    assert not found.no_gradients


def test_a_classifier_keeps_its_own_head_and_its_own_classes(classifier_folder, labelled):
    found = open_inputs(classifier_folder, labelled, SMALL)
    assert type(found.model) is BertForSequenceClassification
    good = 4 + 1  # "good" in the vocabulary
    for batch in found.batches:
        is_yes = (batch["input_ids"] == good).any(dim=1)
        assert torch.equal(batch["labels"], (~is_yes).long())


@pytest.mark.parametrize("task", ["classification", "language_model"])
def test_a_task_that_the_model_cannot_do_is_refused(model_folder, language_model, labelled, task):
    model = language_model if task == "classification" else str(model_folder)
    with pytest.raises(ModelError, match=r"next token|head for classes"):
        open_inputs(model, labelled, InputOptions(task=task))


def test_a_task_without_labels_refuses_their_column(model_folder, labelled):
    with pytest.raises(DataError, match="label_column is 'label', and would be ignored: the task 'none'"):
        open_inputs(str(model_folder), labelled, InputOptions(task="none", label_column="label"))


def test_too_few_texts_say_what_to_change(model_folder, labelled, plain):
    for text in (labelled, plain):
        with pytest.raises(DataError, match="smaller --batches and --batch-size"):
            open_inputs(str(model_folder), text, InputOptions(batches=50))


@pytest.mark.parametrize("size", [1, 3, 8])
def test_the_batches_it_says_to_take_are_few_enough(model_folder, labelled, plain, size):
    for text in (labelled, plain):
        with pytest.raises(DataError, match="smaller --batches and --batch-size") as told:
            open_inputs(str(model_folder), text, InputOptions(batches=12, batch_size=20 * size))
        smaller = int(re.search(r"such as --batch-size (\d+)", str(told.value))[1])
        assert len(open_inputs(str(model_folder), text, InputOptions(batch_size=smaller)).batches) == 12


def test_of_few_and_uneven_texts_the_head_takes_what_the_batches_leave(model_folder, tmp_path):
    # A third of the texts are of the rarer class: an even share of what is left would not be there.
    texts = [f"text {number},{('no', 'no', 'yes')[number % 3]}" for number in range(320)]
    file = tmp_path / "uneven.csv"
    file.write_text("\n".join(["text,label", *texts]) + "\n")
    found = open_inputs(str(model_folder), str(file), InputOptions())
    assert len(found.batches) == 12
    assert any("as the rarest class has 106 texts" in note for note in found.notes)


def test_labels_that_are_there_and_of_no_use_are_a_mistake(model_folder, labelled):
    one_class = Path(labelled).with_name("one_class.csv")
    one_class.write_text(re.sub("yes|no", "yes", Path(labelled).read_text()))
    with pytest.raises(DataError, match=r"one class, 'yes'.*check that this is the label column"):
        open_inputs(str(model_folder), str(one_class), SMALL)


def test_an_encoder_decoder_is_sent_to_python(tmp_path, plain):
    T5Config(architectures=["T5ForConditionalGeneration"]).save_pretrained(tmp_path / "t5")
    with pytest.raises(ModelError, match=r"give batches to paramgraph.compare in Python"):
        open_inputs(str(tmp_path / "t5"), plain, SMALL)


def test_a_file_of_weights_cannot_run(model_folder, plain):
    with pytest.raises(ModelError, match="its whole folder is needed"):
        open_inputs(str(model_folder / "model.safetensors"), plain, SMALL)


def test_a_folder_and_a_hub_name_are_themselves_and_a_slip_is_told(model_folder):
    assert folder_of(str(model_folder)) == model_folder
    assert folder_of("owner/name") == "owner/name"
    with pytest.raises(ModelError, match="did you mean 'all-MiniLM-L6-v2'"):
        folder_of("all-MiniLM-L6-v1")
