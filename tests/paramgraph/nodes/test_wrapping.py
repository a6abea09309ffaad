import pytest
import torch
from torch import nn

from paramgraph import node_tables
from paramgraph.nodes import SCHEMES, bare_names, unwrap


@pytest.mark.parametrize(
    "wrap", [nn.DataParallel, torch.compile, lambda m: torch.compile(nn.DataParallel(m))]
)
def test_wrappers_are_taken_off(wrap):
    model = nn.Sequential(nn.Linear(2, 2))
    assert unwrap(wrap(model)) is model


def test_distributed_data_parallel_is_taken_off(tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        model = nn.Sequential(nn.Linear(2, 2))
        assert unwrap(nn.parallel.DistributedDataParallel(model)) is model
    finally:
        torch.distributed.destroy_process_group()


def test_an_attribute_named_module_is_no_wrapper():
    model = nn.Module()
    model.module = nn.Linear(2, 2)
    assert unwrap(model) is model


@pytest.mark.parametrize("model", ["bert-base-uncased", None, {}])
def test_what_is_no_module_is_refused(model):
    with pytest.raises(TypeError, match=rf"torch.nn.Module, got {type(model).__name__}"):
        unwrap(model)


def test_names_of_a_bare_model_are_its_own(tiny_transformer):
    names = bare_names(tiny_transformer)
    assert list(names) == list(names.values()) == [name for name, _ in tiny_transformer.named_modules()]


def test_adapters_are_left_out_and_their_model_named_as_before(lora_transformer):
    names = bare_names(lora_transformer)
    query = "bert.encoder.layer.1.attention.self.query"
    assert names[f"base_model.model.{query}"] == names[f"base_model.model.{query}.base_layer"] == query
    assert not any("lora" in name for name in names)


def test_of_a_saved_module_the_copy_in_use_is_named(lora_transformer):
    names = bare_names(lora_transformer)
    assert names["base_model.model.classifier.modules_to_save.default"] == "classifier"
    assert "base_model.model.classifier.original_module" not in names


def test_compiled_submodules_are_named_as_before():
    model = nn.Sequential(torch.compile(nn.Sequential(nn.Linear(2, 2))))
    assert bare_names(model)["0._orig_mod.0"] == "0.0"


@pytest.mark.parametrize("scheme", sorted(SCHEMES))
def test_an_adapted_model_has_the_tables_of_the_bare_one(scheme, tiny_transformer, lora_transformer):
    # The fixture has put adapters into this very model, so it is the same weights that are compared.
    wrapped = node_tables(lora_transformer, scheme)
    bare = node_tables(tiny_transformer, scheme)
    in_both = {name.removeprefix("base_model.model."): table for name, table in wrapped.items()}
    assert in_both.keys() == bare.keys()
    assert all(
        (table.shape, table.layer, table.head, table.role)
        == (bare[name].shape, bare[name].layer, bare[name].head, bare[name].role)
        for name, table in in_both.items()
    )


@pytest.mark.parametrize("scheme", sorted(SCHEMES))
def test_adapters_change_no_table_but_the_names_of_parameters(scheme, tiny_transformer):
    from peft import LoraConfig, get_peft_model

    before = node_tables(tiny_transformer, scheme)
    values = {name: p.detach().clone() for name, p in tiny_transformer.named_parameters()}
    adapted = get_peft_model(
        tiny_transformer, LoraConfig(target_modules="all-linear", task_type="SEQ_CLS", r=2)
    )
    after = node_tables(adapted, scheme)
    parameters = dict(adapted.named_parameters())
    assert len(before) == len(after)
    for old, new in zip(before.values(), after.values(), strict=True):
        assert (old.layer, old.head, old.role) == (new.layer, new.head, new.role)
        assert torch.equal(old.gather(values), new.gather(parameters))
