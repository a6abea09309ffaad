"""Architectures without weights, from their description."""

import json
import random

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError

import paramgraph
from paramgraph.checkpoints import open_checkpoint, open_skeleton

MANY = (
    "BERT",
    "ALBERT (shared layers)",
    "GPT-2",
    "Falcon (grouped queries)",
    "Phi-3",
    "Llama",
    "T5",
    "BART",
    "ViT",
)


@pytest.fixture
def llama(tmp_path, random_model):
    random_model("Llama").model.save_pretrained(tmp_path)
    return tmp_path


def described(folder, **changes):
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return folder


@pytest.mark.parametrize("name", MANY)
@pytest.mark.parametrize("scheme", ["rows", "columns", "heads", "layers"])
def test_tables_are_those_of_the_loaded_model(random_model, tmp_path, name, scheme):
    model = random_model(name).model
    model.save_pretrained(tmp_path)
    skeleton = open_skeleton(tmp_path)
    assert type(skeleton) is type(model)
    assert paramgraph.node_tables(skeleton, scheme) == paramgraph.node_tables(model, scheme)
    assert all(parameter.is_meta for parameter in skeleton.parameters())
    assert not skeleton.training


@pytest.mark.parametrize("name", ["BERT", "Llama", "T5", "GPT-2"])
def test_every_table_finds_its_weights_in_the_checkpoint(random_model, tmp_path, name):
    random_model(name).model.save_pretrained(tmp_path)
    weights = open_checkpoint(tmp_path)
    for table in paramgraph.node_tables(open_skeleton(tmp_path)).values():
        assert table.gather({table.group: weights[table.group]}).shape == table.shape


@pytest.mark.parametrize("tied", [True, False])
def test_tied_weights_count_once(llama, tied):
    skeleton = open_skeleton(described(llama, tie_word_embeddings=tied))
    assert (skeleton.lm_head.weight is skeleton.model.embed_tokens.weight) is tied
    (table,) = paramgraph.node_tables(skeleton, targets=["lm_head"])
    assert table == ("model.embed_tokens.weight" if tied else "lm_head.weight")


def test_a_description_without_a_class_gives_the_bare_model(llama, random_model):
    bare = paramgraph.rows(open_skeleton(described(llama, architectures=None)))
    named = paramgraph.rows(random_model("Llama").model)
    assert [f"model.{name}" for name in bare] == list(named)


@pytest.mark.parametrize("wrong", ["OwnForCausalLM", "BertModel", "AutoConfig"])
def test_a_class_of_another_architecture_is_not_made(llama, wrong):
    assert type(open_skeleton(described(llama, architectures=[wrong]))).__name__ == "LlamaModel"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_hidden_layers": 10**9}, "num_hidden_layers = 1,000,000,000: no model has more than 10,000"),
        ({"num_hidden_layers": 10**400}, "a number of 401 digits"),
        ({"text_config": {"n_layer": 10**6}}, "n_layer = 1,000,000"),
        ({"depths": [2, 10**9]}, "depths"),
        ({"num_labels": 10**9}, "num_labels"),
        ({"num_local_experts": 10**9}, "num_local_experts"),
        ({"hidden_size": 10**9, "intermediate_size": 10**9}, "parameters, and no model has so many"),
        ({"hidden_size": -8}, "describes no model"),
        ({"vocab_size": 10**30}, "describes no model"),
        ({"_attn_implementation": "some/kernels"}, "names code to run"),
        ({"attn_implementation": {"text_config": "some/kernels:function"}}, "names code to run"),
        ({"vision_config": {"_attn_implementation_internal": "some/kernels"}}, "names code to run"),
        ({"configuration_files": ["config.4.0.json"]}, "points to other descriptions"),
        (
            {"model_type": "own", "auto_map": {"AutoConfig": "own.Config"}},
            "its architecture is code of its own",
        ),
        ({"model_type": ["llama"]}, "no architecture of that name"),
        ({"quantization_config": [1]}, "cannot use"),
    ],
    ids=lambda value: str(value)[:60] if isinstance(value, dict) else "",
)
def test_a_hostile_description_is_one_line_and_fills_no_memory(llama, changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        open_skeleton(described(llama, **changes))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 800


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", "[" * 100_000, '{"a":' * 100_000, "\0\0"])
def test_a_description_that_is_no_object_is_one_line(llama, text):
    (llama / "config.json").write_text(text)
    with pytest.raises(ValueError, match=r"config\.json") as caught:
        open_skeleton(llama)
    assert "\n" not in str(caught.value)


def test_random_states_stay_as_they_were(llama):
    def states():
        return torch.get_rng_state().tolist(), random.getstate()

    before = states()
    open_skeleton(llama)
    assert states() == before


def test_a_name_on_the_hub_fetches_the_description_alone(llama, monkeypatch):
    asked = {}

    def download(name, **options):
        asked.update(options, name=name)
        return str(llama)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert type(open_skeleton("owner/name")).__name__ == "LlamaForCausalLM"
    assert (asked["name"], asked["allow_patterns"]) == ("owner/name", ["config.json"])


def test_a_name_that_nobody_has_is_one_clear_error(monkeypatch):
    def refuse(name, **options):
        raise LocalEntryNotFoundError("offline")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(ValueError, match="'owner/name' is no local file or folder"):
        open_skeleton("owner/name")


def test_a_file_of_weights_is_sent_back_for_its_folder(llama):
    with pytest.raises(ValueError, match=r"is a file.*give the folder"):
        open_skeleton(llama / "model.safetensors")


def test_a_folder_without_a_description_says_what_it_has(llama):
    (llama / "config.json").unlink()
    with pytest.raises(ValueError, match=r"has no config.json.*model.safetensors.*save_pretrained"):
        open_skeleton(llama)


def test_an_adapter_is_sent_back_for_its_base(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ValueError, match="is an adapter"):
        open_skeleton(tmp_path)


def test_broken_json_is_one_clear_error(llama):
    (llama / "config.json").write_text('{"model_type": "llama"')
    with pytest.raises(ValueError, match=r"cannot read .*config.json"):
        open_skeleton(llama)


@pytest.mark.parametrize("kind", ["our_own", None, 3])
def test_an_unknown_architecture_says_so(llama, kind):
    with pytest.raises(ValueError, match=r"cannot use .*config.json .*transformers .* has no architecture"):
        open_skeleton(described(llama, model_type=kind))


@pytest.mark.parametrize(
    "changes", [{"hidden_size": "wide"}, {"num_attention_heads": 0}, {"hidden_size": -4}]
)
def test_a_description_that_contradicts_itself_is_one_clear_error(llama, changes):
    with pytest.raises(ValueError, match=r"config.json"):
        open_skeleton(described(llama, **changes))


def test_code_that_comes_with_a_model_is_not_run(llama):
    described(llama, model_type="our_own", auto_map={"AutoConfig": "own.OwnConfig", "AutoModel": "own.Own"})
    (llama / "own.py").write_text("raise SystemExit('run')")
    with pytest.raises(ValueError, match="cannot use"):
        open_skeleton(llama)
