"""Folders whose files have other names, or other tensors, than the modules that are loaded from them."""

import dataclasses

import pytest
import torch
from safetensors.torch import load_file, save_file

from paramgraph import compare, rows, updates
from paramgraph.checkpoints import ModuleWeights, correspond, in_module_names, open_checkpoint

from helpers.saved_architectures import RENAMED, SAVED, make_saved, save


class Stack(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.zeros(2, 3, 4))
        self.input_size, self.output_size = 4, 3


@pytest.fixture
def folders(tmp_path):
    def of(name):
        for part, seed in (("base", 0), ("tuned", 1)):
            save(make_saved(name, seed), tmp_path / part)
        return tmp_path / "base", tmp_path / "tuned"

    return of


@pytest.mark.parametrize("name", SAVED)
def test_a_folder_has_the_names_and_tensors_of_its_module(folders, name):
    folder, _ = folders(name)
    state = make_saved(name).state_dict()
    weights = open_checkpoint(folder)
    assert set(weights.all_names) == set(state)
    for here in weights:
        assert torch.equal(weights[here], state[here])
        assert weights.shape(here) == tuple(state[here].shape)


@pytest.mark.parametrize("name", SAVED)
def test_tensors_go_back_under_their_names_on_disk(folders, name):
    folder, _ = folders(name)
    weights, stored = open_checkpoint(folder), load_file(folder / "model.safetensors")
    assert isinstance(weights, ModuleWeights)
    back = dict(weights.on_disk(weights.items()))
    assert back.keys() == stored.keys()
    assert all(torch.equal(back[name], value) for name, value in stored.items())
    assert (back.keys() != weights.keys()) == (name in RENAMED)


@pytest.mark.parametrize("name", SAVED)
def test_updates_are_the_same_from_folders_modules_and_state_dicts(folders, name):
    base, tuned = folders(name)
    before, after = make_saved(name), make_saved(name, 1)
    tables = rows(before)
    table = list(tables.values())[-1]
    old, new = dict(before.named_parameters()), dict(after.named_parameters())
    expected = table.gather({name: (new[name] - old[name]).detach() for name in table.parameters})
    for first in (base, before):
        for second in (tuned, after, after.state_dict(), load_file(tuned / "model.safetensors")):
            assert torch.equal(updates(first, second, table), expected)


@pytest.mark.parametrize("name", SAVED)
def test_two_folders_of_one_model_belong_together_one_to_one(folders, name):
    base, tuned = map(open_checkpoint, folders(name))
    found = correspond(base, tuned)
    assert set(found.pairs) == set(base.all_names)
    assert len(set(found.pairs.values())) == len(found.pairs)
    assert (found.base_only, found.tuned_only, found.strays, found.remarks) == ((), (), (), ())


def test_merged_experts_are_read_part_by_part(folders):
    folder, _ = folders("MixtralForCausalLM")
    weights = open_checkpoint(folder)
    read = []
    stored = weights.stored._read
    weights.stored._read = lambda name: read.append(name) or stored(name)
    weights["model.layers.1.mlp.experts.down_proj"]
    assert len(read) == 3
    assert all(".layers.1." in name and name.endswith("w2.weight") for name in read)


@pytest.mark.parametrize("name", ["MixtralForCausalLM", "GptOssForCausalLM"])
def test_a_stack_is_read_once_for_all_its_experts(folders, name):
    base, tuned = map(open_checkpoint, folders(name))
    experts = [group for group in rows(make_saved(name)) if ".1.mlp.experts.down" in group]
    tables = rows(make_saved(name))
    updates(
        base, tuned, tables[experts[-1]]
    )  # the files' names are matched, and their tied weights looked for
    read = []
    for weights in (base, tuned):
        weights.last_stack, weights._merged = type(weights.last_stack)(), type(weights._merged)()
        merged = weights._merge
        weights._merge = lambda conversion, name, merged=merged: read.append(name) or merged(conversion, name)
    found = [updates(base, tuned, tables[group]) for group in experts]
    assert len(found) == 3
    assert len(read) == (2 if name == "MixtralForCausalLM" else 0)  # gpt-oss has its stacks in its files
    same = {X.untyped_storage().data_ptr() for X in found}
    assert len(same) == 1  # one difference, of which each expert has a view


def test_a_stack_that_was_changed_in_place_is_subtracted_anew():
    before, after = (open_checkpoint({"w": torch.full((2, 3, 4), value)}) for value in (0.0, 1.0))
    table = rows(torch.nn.ModuleDict({"e": Stack()}))["e.w[1]"]
    table = dataclasses.replace(
        table, slices=tuple(dataclasses.replace(s, parameter="w") for s in table.slices)
    )
    assert updates(before, after, table).unique().tolist() == [1.0]
    after["w"].add_(1.0)
    found = updates(before, after, table)
    assert found.unique().tolist() == [2.0]
    found.zero_()
    assert updates(before, after, table).unique().tolist() == [2.0]


def test_a_file_beside_its_description_has_the_names_of_the_module(folders):
    folder, _ = folders("ViTModel")
    assert list(open_checkpoint(folder / "model.safetensors")) == list(open_checkpoint(folder))


def test_sharded_folders_are_translated(tmp_path):
    model = make_saved("MixtralForCausalLM")
    model.save_pretrained(tmp_path, max_shard_size="5kB")
    assert not (tmp_path / "model.safetensors").exists()
    weights = open_checkpoint(tmp_path)
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())


def test_names_of_the_module_on_disk_stay(tmp_path):
    model = make_saved("MixtralForCausalLM")
    model.config.save_pretrained(tmp_path)
    save_file(dict(model.state_dict()), tmp_path / "model.safetensors")
    weights = open_checkpoint(tmp_path)
    assert weights.keys() == model.state_dict().keys()
    assert dict(weights.on_disk(weights.items())).keys() == weights.keys()


def test_old_names_of_a_weight_norm_and_of_layer_norms_are_known(tmp_path):
    model = make_saved("Wav2Vec2ForCTC")
    save(model, tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    old = {
        name.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): value
        for name, value in stored.items()
    }
    assert old.keys() != stored.keys()
    save_file(old, tmp_path / "model.safetensors", metadata={"format": "pt"})
    weights = open_checkpoint(tmp_path)
    assert weights.keys() == stored.keys()
    assert dict(weights.on_disk(weights.items())).keys() == old.keys()


def test_a_tensor_under_both_of_its_names_is_refused():
    model = make_saved("GPTNeoXForCausalLM")
    twice = {"embed_out.weight": torch.ones(40, 16), "lm_head.weight": torch.zeros(40, 16)}
    with pytest.raises(ValueError, match="which are one tensor of GPTNeoXForCausalLM"):
        in_module_names(open_checkpoint(twice), model)


@pytest.mark.parametrize("name", ["GPTNeoXForCausalLM", "ViTModel", "MixtralForCausalLM"])
def test_such_folders_are_compared(folders, name):
    base, tuned = folders(name)
    found = compare(base, ["ring"], tuned=tuned, permutations=0)
    assert found.failures == ()
    assert set(found.frame["layer"]) == set(rows(make_saved(name)))


def test_a_comparison_says_what_only_one_side_has_and_no_path(tmp_path):
    base, tuned = make_saved("ViTModel"), make_saved("ViTForImageClassification", 1)
    save(base, tmp_path / "base"), save(tuned, tmp_path / "tuned")
    found = compare(tmp_path / "base", ["ring"], tuned=tmp_path / "tuned", permutations=0)
    said = " ".join(found.setting["chosen"])
    assert "'*' of the base is 'vit.*' of tuned" in said
    assert "In tuned alone: classifier.bias, classifier.weight." in said
    assert "In the base alone: pooler.dense.bias, pooler.dense.weight." in said
    assert str(tmp_path) not in said
    assert [failure["layer"] for failure in found.failures] == ["pooler.dense.weight"]
