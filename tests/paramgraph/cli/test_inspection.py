"""What a model is made of, without a weight being read."""

import json

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import paramgraph
from paramgraph.cli import inspect_model

from helpers.saved_architectures import TEXT, make_saved, save


@pytest.fixture
def saved(tmp_path, random_model):
    def save(name):
        model = random_model(name).model
        model.save_pretrained(tmp_path)
        return model, str(tmp_path)

    return save


@pytest.mark.parametrize(
    "name", ["BERT", "Llama", "GPT-2", "T5", "ViT", "ALBERT (shared layers)", "Mixtral", "gpt-oss"]
)
def test_counts_are_those_of_the_loaded_model(saved, name):
    model, folder = saved(name)
    found = inspect_model(folder)
    assert found["architecture"] == type(model).__name__
    assert found["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    assert (
        found["stored"]["entries"] <= found["parameters"] + 1000
    )  # buffers, such as positions, may be stored
    for scheme in ("rows", "columns", "blocks", "heads", "layers"):
        tables = paramgraph.node_tables(model, scheme).values()
        described = found["schemes"][scheme]
        assert (described["tables"], described["nodes"]) == (
            len(tables),
            sum(table.shape[0] for table in tables),
        )
        assert described["widest"] == max(table.shape[1] for table in tables)
        assert described["bytes"] == 24 * max(table.shape[0] for table in tables) ** 2
    json.dumps(found, allow_nan=False)


def test_experts_are_listed_and_what_is_left_out_is_named(saved):
    model, folder = saved("Mixtral")
    found = inspect_model(folder)
    share = paramgraph.coverage(model)
    assert (
        found["left_out"]
        == share.left_out
        == dict.fromkeys(
            [f"model.layers.{i}.mlp.gate.weight" for i in (0, 1)],
            "a parameter of MixtralTopKRouter itself, in no linear layer",
        )
    )
    assert (found["coverage"]["share"], found["coverage"]["warning"]) == (share.share, "")
    assert found["experts"][1] == {
        "parameter": "model.layers.0.mlp.experts.down_proj",
        "role": "mlp.experts.down_proj",
        "experts": 4,
        "shape": [32, 64],
    }
    few = inspect_model(folder, ["experts.down_proj[1]", "experts.down_proj[2]", "q_proj"])
    assert [stack["experts"] for stack in few["experts"]] == [2, 2]
    assert few["schemes"]["rows"]["tables"] == 6


def test_attention_that_a_scheme_leaves_out_is_named(saved):
    _, folder = saved("MiniMax")
    heads = inspect_model(folder)["schemes"]["heads"]
    assert heads["tables"] == 2
    assert "MiniMaxLightningAttention 'model.layers.1.self_attn'" in heads["left_out"]


def test_tied_weights_are_named_together(saved):
    _, folder = saved("GPT-2")
    assert inspect_model(folder)["tied"] == [["transformer.wte.weight", "lm_head.weight"]]
    _, folder = saved("BERT")
    assert inspect_model(folder)["tied"] == []


def test_layers_that_share_one_module_are_no_tie_by_name(saved):
    _, folder = saved("ALBERT (shared layers)")
    assert inspect_model(folder)["tied"] == []


def test_targets_and_exclude_choose_layers(saved):
    _, folder = saved("BERT")
    found = inspect_model(folder, ["query", "key"], ["key"])
    assert found["layers"] == 2
    assert found["schemes"]["rows"]["tables"] == 2
    with pytest.raises(ValueError, match="near names"):
        inspect_model(folder, ["querry"])


def test_a_scheme_that_does_not_fit_says_why(saved):
    _, folder = saved("BERT")
    found = inspect_model(folder, ["intermediate.dense"])
    assert "no module of" in found["schemes"]["heads"]["refused"]
    assert not found["schemes"]["rows"]["refused"]


def test_a_description_alone_will_do(saved, tmp_path):
    _, folder = saved("BERT")
    (tmp_path / "model.safetensors").unlink()
    found = inspect_model(folder)
    assert found["stored"] is None
    assert "no .safetensors file" in found["not_stored"]


def test_a_broken_file_is_no_absent_file(saved, tmp_path):
    _, folder = saved("BERT")
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(ValueError, match="truncated"):
        inspect_model(folder)


def test_what_the_files_lack_and_what_is_not_read_of_them_is_named(tmp_path):
    bare = transformers.BertModel(transformers.BertConfig(**TEXT), add_pooling_layer=False)
    bare.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    old = {
        "embeddings.position_ids": torch.arange(32)[None],
        "cls.seq_relationship.weight": torch.ones(2, 16),
    }
    save_file({**load_file(file), **old}, file, metadata={"format": "pt"})
    stored = inspect_model(str(tmp_path))["stored"]
    assert stored["lacking"] == ["pooler.dense.weight", "pooler.dense.bias"]
    assert sorted(stored["unread"]) == sorted(old)


@pytest.mark.parametrize("name", ["MixtralForCausalLM", "ViTForImageClassification", "Qwen2ForCausalLM"])
def test_files_with_other_names_or_parts_lack_nothing(tmp_path, name):
    save(make_saved(name), tmp_path)
    stored = inspect_model(str(tmp_path))["stored"]
    assert (stored["lacking"], stored["unread"], stored["quantized"]) == ([], [], "")


def test_quantized_files_are_called_so(tmp_path):
    save(make_saved("LlamaForCausalLM"), tmp_path)
    described = json.loads((tmp_path / "config.json").read_text())
    described["quantization_config"] = {"quant_method": "gptq", "bits": 4}
    (tmp_path / "config.json").write_text(json.dumps(described))
    assert inspect_model(str(tmp_path))["stored"]["quantized"] == "gptq"
