"""What a checkpoint holds, from the headers of its files."""

import json

import pytest
import torch
from safetensors.torch import save_file

from paramgraph.checkpoints import checkpoint_inventory

TENSORS = {"a": torch.zeros(3, 4), "b": torch.zeros(5, dtype=torch.bfloat16), "c": torch.zeros(())}


@pytest.fixture
def shards(tmp_path):
    for name, value in TENSORS.items():
        save_file({name: value}, tmp_path / f"part-{name}.safetensors")
    places = {name: f"part-{name}.safetensors" for name in TENSORS}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    return tmp_path


def test_a_file_and_shards_hold_the_same(shards, tmp_path_factory):
    whole = tmp_path_factory.mktemp("whole") / "model.safetensors"
    save_file(TENSORS, whole)
    one, many = checkpoint_inventory(whole), checkpoint_inventory(shards)
    assert (one.files, many.files) == (1, 3)
    assert (one.tensors, one.entries) == (many.tensors, many.entries) == (3, 18)
    assert dict(one.dtypes) == dict(many.dtypes) == {"F32": 13, "BF16": 5}
    assert one.size == whole.stat().st_size


def test_the_most_frequent_type_comes_first(tmp_path):
    file = tmp_path / "model.safetensors"
    save_file({"a": torch.zeros(1), "b": torch.zeros(5, dtype=torch.float16)}, file)
    assert list(checkpoint_inventory(tmp_path).dtypes) == ["F16", "F32"]


def test_tied_weights_are_stored_once(tmp_path, random_model):
    model = random_model("GPT-2").model
    model.save_pretrained(tmp_path)
    assert checkpoint_inventory(tmp_path).entries == sum(value.numel() for value in model.parameters())


def test_a_truncated_shard_is_named(shards):
    file = shards / "part-a.safetensors"
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(ValueError, match=r"part-a.safetensors \(missing, truncated"):
        checkpoint_inventory(shards)


def test_a_folder_without_weights_says_what_to_give(tmp_path):
    with pytest.raises(ValueError, match=r"no .safetensors file"):
        checkpoint_inventory(tmp_path)
