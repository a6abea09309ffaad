"""Weights from modules, mappings, files, folders, adapters and the hub, one at a time."""

import json
from dataclasses import replace

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import save_file, save_model
from torch import nn

from paramgraph.checkpoints import WeightMapping, existing_path, locate, open_checkpoint, plain_name


@pytest.fixture
def weights(generator):
    return {
        "encoder.layer.0.weight": torch.randn(3, 2, generator=generator),
        "encoder.layer.1.weight": torch.randn(3, 2, generator=generator).bfloat16(),
    }


@pytest.fixture
def sharded(tmp_path, weights):
    """A folder with one file per weight and their index."""
    places = {name: f"part-{index}.safetensors" for index, name in enumerate(weights)}
    for name, place in places.items():
        save_file({name: weights[name]}, tmp_path / place)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    return tmp_path


def assert_same(opened, weights):
    assert list(opened) == list(weights)
    assert all(torch.equal(opened[name], value) for name, value in weights.items())


def test_a_mapping_a_file_and_a_sharded_folder_give_the_same(weights, sharded, tmp_path):
    save_file(weights, tmp_path / "whole.safetensors")
    for source in (
        weights,
        tmp_path / "whole.safetensors",
        str(sharded),
        sharded / "model.safetensors.index.json",
    ):
        assert_same(open_checkpoint(source), weights)


def test_only_the_weight_that_is_asked_for_is_read(sharded, weights, monkeypatch):
    opened = open_checkpoint(sharded)
    first = next(iter(weights))
    (sharded / "part-1.safetensors").unlink()  # opened headers only; a whole load would need it
    assert torch.equal(opened[first], weights[first])


def test_what_was_read_does_not_follow_the_file(tmp_path):
    file = tmp_path / "model.safetensors"
    save_file({"w": torch.zeros(4)}, file)
    read = open_checkpoint(tmp_path)["w"]
    data = bytearray(file.read_bytes())
    data[-1] = 65
    with file.open("r+b") as opened:
        opened.write(data)
    assert torch.equal(read, torch.zeros(4))


@pytest.mark.parametrize(
    "name",
    ["encoder.a.weight", "bert.encoder.a.weight", "model.bert.encoder.a.weight", "module.encoder.a.weight",
     "base_model.model.bert.encoder.a.base_layer.weight", "_orig_mod.encoder.a.weight"],
)  # fmt: skip
def test_names_of_bare_task_and_wrapped_models_find_each_other(name):
    for stored in ("encoder.a.weight", "bert.encoder.a.weight"):
        assert WeightMapping("here", [stored], torch.zeros).resolve(name) == stored


def test_the_exact_name_goes_before_a_prefix():
    both = WeightMapping("here", ["a.b.weight", "x.a.b.weight"], torch.zeros)
    assert both.resolve("a.b.weight") == "a.b.weight"
    assert both.resolve("x.a.b.weight") == "x.a.b.weight"


def test_a_name_that_fits_two_parameters_is_refused():
    both = WeightMapping("here", ["encoder.a.b.weight", "decoder.a.b.weight"], torch.zeros)
    with pytest.raises(
        ValueError, match=r"could be 'encoder\.a\.b\.weight' or 'decoder\.a\.b\.weight' in here"
    ):
        both.resolve("a.b.weight")


@pytest.mark.parametrize("name", ["weight", "c.b.weight", "x.y.z.a.b.weight"])
def test_names_that_only_look_alike_are_not_found(name):
    here = WeightMapping("here", ["a.b.weight"], torch.zeros)
    assert name not in here
    with pytest.raises(KeyError, match=r"here has no parameter.*a\.b\.weight"):
        here[name]


def test_plain_names_keep_what_is_no_wrapper():
    assert plain_name("model.module.base_model.weight") == "model.module.base_model.weight"


def test_all_names_of_a_tied_weight_find_it():
    model = nn.ModuleDict({"a": nn.Linear(2, 2, bias=False), "b": nn.Linear(2, 2, bias=False)})
    model["b"].weight = model["a"].weight
    opened = open_checkpoint(model)
    assert list(opened) == ["a.weight"]
    assert opened["b.weight"].data_ptr() == model["a"].weight.data_ptr()


def test_a_tied_weight_in_a_file_is_found_under_the_name_that_was_dropped(tmp_path):
    model = nn.ModuleDict({"a": nn.Linear(2, 2, bias=False), "b": nn.Linear(2, 2, bias=False)})
    model["b"].weight = model["a"].weight
    save_model(model, str(tmp_path / "model.safetensors"))
    opened = open_checkpoint(tmp_path)
    assert torch.equal(opened["a.weight"], opened["b.weight"])


@pytest.mark.parametrize("place", ["../part-0.safetensors", "/etc/part.safetensors", "a\\b", "c:x"])
def test_an_index_that_leaves_its_folder_is_refused(sharded, place):
    (sharded / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"w": place}}))
    with pytest.raises(ValueError, match="outside its folder"):
        open_checkpoint(sharded)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"weight_map": [1]}'])
def test_a_broken_index_is_named(sharded, content):
    (sharded / "model.safetensors.index.json").write_text(content)
    with pytest.raises(ValueError, match=r"model\.safetensors\.index\.json"):
        open_checkpoint(sharded)


def test_a_tensor_that_is_not_where_the_index_places_it_is_named(sharded):
    index = sharded / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"lost.weight": "part-0.safetensors"}}))
    with pytest.raises(ValueError, match=r"part-0.safetensors does not have the tensor 'lost\.weight'"):
        open_checkpoint(sharded)


def test_a_truncated_file_is_refused_when_it_is_opened(sharded):
    file = sharded / "part-1.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"part-1\.safetensors \(missing, truncated"):
        open_checkpoint(sharded)


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ([], "no .safetensors file: give the folder that save_pretrained wrote"),
        (["pytorch_model.bin"], "pytorch_model.bin and no .safetensors.*can run code"),
        (
            ["a.safetensors", "b.safetensors"],
            "several checkpoints .a.safetensors, b.safetensors.: give one file",
        ),
        (
            ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"],
            r"parts of a model \(model-00001-of-00002.safetensors, ...\) and no \*.safetensors.index.json",
        ),
        (
            ["checkpoint-9/config.json", "checkpoint-10/config.json"],
            r"it has models in subfolders \(2\): give one of them, such as .*checkpoint-10$",
        ),
        (["checkpoints/checkpoint-10/config.json"], "such as .*checkpoints/checkpoint-10$"),
    ],
)
def test_folders_without_one_checkpoint_say_what_to_do(tmp_path, files, text):
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(ValueError, match=text):
        open_checkpoint(tmp_path)


def test_a_pickled_file_is_not_read(tmp_path):
    torch.save({"w": torch.ones(1)}, tmp_path / "model.pt")
    with pytest.raises(ValueError, match="can run code when they are loaded"):
        open_checkpoint(tmp_path / "model.pt")


@pytest.mark.parametrize("name", ["./missing", "/missing/model", "missing.safetensors", "a/b/c"])
def test_a_path_that_does_not_exist_is_no_hub_name(name):
    with pytest.raises(ValueError, match="no file or folder"):
        open_checkpoint(name)


def test_hub_names_fetch_safetensors_and_json_only(monkeypatch, sharded, weights):
    asked = {}
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda name, **kw: asked.update(kw, name=name) or str(sharded)
    )
    assert_same(open_checkpoint("someone/model"), weights)
    assert asked["name"] == "someone/model"
    assert asked["allow_patterns"] == ["*.safetensors", "*.json"]


def test_a_revision_is_of_the_hub(monkeypatch, sharded):
    asked = {}
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda name, **kw: asked.update(kw, name=name) or str(sharded)
    )
    assert replace(locate("someone/model"), revision="v2").files() == sharded
    assert (asked["name"], asked["revision"]) == ("someone/model", "v2")


def test_a_hub_that_cannot_be_reached_is_said(monkeypatch):
    def offline(*_, **__):
        raise LocalEntryNotFoundError("no connection")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(
        ValueError, match=r"no local file or folder.*no connection.*download the model while online"
    ):
        open_checkpoint("someone/model")


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("source", [3, None, [torch.ones(1)]])
def test_other_things_are_no_checkpoint(source):
    with pytest.raises(TypeError, match="a checkpoint is a module, a mapping"):
        open_checkpoint(source)


def test_a_mapping_of_something_else_names_the_entry():
    with pytest.raises(TypeError, match="'w' in the mapping is a list"):
        open_checkpoint({"v": torch.ones(1), "w": [1.0]})["w"]


def test_what_was_given_is_told_once(sharded, tmp_path, weights):
    module, adapter = nn.Linear(2, 2), tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    file = tmp_path / "part-0.safetensors"
    for given, kind, name in (
        (module, "module", "Linear"),
        (nn.DataParallel(module), "module", "Linear"),
        (weights, "weights", "dict"),
        (file, "file", "part-0.safetensors"),
        (str(sharded), "folder", tmp_path.name),
        (adapter, "adapter", "adapter"),
        ("someone/model", "hub", "model"),
    ):
        found = locate(given)
        assert (found.kind, found.name) == (kind, name)
        assert found.path == (None if kind in ("module", "weights", "hub") else type(file)(given))
        assert locate(found) is found


def test_a_folder_that_is_given_by_where_it_lies_has_its_own_name(tmp_path, monkeypatch):
    inner = tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    assert [locate(given).name for given in (".", "..", "../inner/..")] == ["inner", "outer", "outer"]


def test_what_is_no_model_names_the_argument():
    with pytest.raises(TypeError, match=r"base is a module, .* a folder or a name on the hub; got int"):
        locate(3, "base")


def test_a_model_in_memory_has_no_files():
    with pytest.raises(ValueError, match="Linear was given in memory: it has no files"):
        locate(nn.Linear(2, 2)).files()


@pytest.mark.parametrize("asked", ["", "a\0b", "x" * 5000, "~nobody-of-that-name/model"])
def test_what_can_be_no_path_is_none(asked):
    assert existing_path(asked) is None
