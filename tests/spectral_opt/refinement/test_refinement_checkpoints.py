"""What refinement reads and writes: heads without a base, files, folders, shards, adapters."""

import copy
import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import BertForSequenceClassification, BertModel

from paramgraph.checkpoints import open_module
from spectral_opt import Refiner, SpectralConfig, refine
from spectral_opt.refinement import BaseModel, TunedCheckpoint, read_folder, write_folder

from helpers.configs import preserve_config

PRESERVE = preserve_config(gamma=0.3)
ROWS = SpectralConfig(builder="ring", normalization=None, exclude=["pooler.dense"])


def moved(model, seed=5):
    tuned = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in tuned.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return tuned


@pytest.fixture
def tuned(tiny_transformer):
    return moved(tiny_transformer)


@pytest.fixture
def batches(tiny_batches):
    return {"preserve": tiny_batches}


def test_a_head_that_the_base_lacks_stays_as_tuned_and_is_named(tiny_transformer, tuned, batches):
    refined = refine(tiny_transformer.bert, tuned, PRESERVE, batches)
    same = refine(tiny_transformer, tuned, PRESERVE, batches)
    assert list(refined) == list(tuned.state_dict())
    assert torch.equal(refined["classifier.weight"], tuned.classifier.weight)
    assert any("classifier.weight" in remark for remark in refined.remarks)
    assert [remark.split(":")[0] for remark in same.remarks] == ["left as tuned, as no filter acts on it"]
    for name, value in same.items():
        torch.testing.assert_close(refined[name], value)


def test_a_head_of_another_size_stays_as_tuned(tiny_transformer, tuned):
    other = copy.deepcopy(tiny_transformer)
    other.classifier = nn.Linear(32, 3)
    refined = refine(other, tuned, ROWS)
    assert torch.equal(refined["classifier.weight"], tuned.classifier.weight)
    assert not torch.equal(refined["bert.pooler.dense.bias"], other.bert.pooler.dense.bias)


def test_a_pooler_that_tuned_lacks_is_not_filtered_and_is_named(tiny_transformer):
    bare = BertModel(tiny_transformer.config, add_pooling_layer=False)
    refined = refine(tiny_transformer.bert, bare, SpectralConfig(builder="ring"))
    assert any("pooler.dense.weight" in remark for remark in refined.remarks)
    assert "pooler.dense.weight" not in refined


def test_weights_that_a_base_folder_lacks_are_no_base(tiny_transformer, tuned, batches, tmp_path):
    bare = BertModel(tiny_transformer.config, add_pooling_layer=False)
    bare.load_state_dict(
        {name: v for name, v in tiny_transformer.bert.state_dict().items() if "pooler" not in name}
    )
    bare.save_pretrained(tmp_path)
    refined = refine(tmp_path, tuned, PRESERVE, batches)
    assert torch.equal(refined["bert.pooler.dense.weight"], tuned.bert.pooler.dense.weight)
    assert any("drawn at random" in remark for remark in refined.remarks)


@pytest.mark.parametrize("kind", ["state", "file", "folder"])
def test_base_and_tuned_in_every_form_give_the_same(tiny_transformer, tuned, batches, tmp_path, kind):
    expected = refine(tiny_transformer, tuned, PRESERVE, batches)
    sources = {}
    for name, model in (("base", tiny_transformer), ("tuned", tuned)):
        model.save_pretrained(tmp_path / name)
        files = {
            "state": model.state_dict(),
            "file": tmp_path / name / "model.safetensors",
            "folder": tmp_path / name,
        }
        sources[name] = files[kind]
    base = sources["base"]
    found = refine(base, tuned if kind != "folder" else sources["tuned"], PRESERVE, batches)
    again = refine(tiny_transformer, sources["tuned"], PRESERVE, batches)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)
        torch.testing.assert_close(again[name], value)


def test_a_folder_is_written_that_from_pretrained_reads(tiny_transformer, tuned, batches, tmp_path):
    tuned.save_pretrained(tmp_path / "tuned")
    (tmp_path / "tuned" / "tokenizer.json").write_text("{}")
    (tmp_path / "tuned" / "trainer_state.json").write_text("{}")
    expected = refine(tiny_transformer, tuned, PRESERVE, batches)
    written = refine(tiny_transformer, tmp_path / "tuned", PRESERVE, batches, out=tmp_path / "out")
    loaded = BertForSequenceClassification.from_pretrained(tmp_path / "out").state_dict()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "README.md",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    }
    for name, value in written.items():
        assert torch.equal(loaded[name], value)
        torch.testing.assert_close(value, expected[name])
    assert 0 < written.norm_kept < 1
    assert written.norm_kept == pytest.approx(expected.norm_kept)


def test_a_module_is_written_with_its_config(tiny_transformer, tuned, tmp_path):
    refine(tiny_transformer, tuned, ROWS, out=tmp_path)
    loaded = BertForSequenceClassification.from_pretrained(tmp_path)
    assert torch.equal(loaded.classifier.weight, tuned.classifier.weight)


def test_shards_have_an_index_and_the_same_tensors(tiny_transformer, tmp_path):
    state = tiny_transformer.state_dict()
    checkpoint = TunedCheckpoint(open_module(tiny_transformer), None, tiny_transformer)
    write_folder(tmp_path, state.items(), checkpoint, BaseModel(tiny_transformer), shard_bytes=20_000)
    assert (tmp_path / "model.safetensors.index.json").is_file()
    assert len(list(tmp_path.glob("model-*-of-*.safetensors"))) > 2
    found = read_folder(tmp_path)
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], state[name]) for name in state)
    loaded = BertForSequenceClassification.from_pretrained(tmp_path)
    assert torch.equal(loaded.bert.pooler.dense.weight, state["bert.pooler.dense.weight"])


def test_a_broken_stream_leaves_nothing_that_loads(tiny_transformer, tmp_path):
    def broken():
        yield "one", torch.ones(2)
        raise ValueError("not finite")

    checkpoint = TunedCheckpoint(open_module(tiny_transformer), None, tiny_transformer)
    with pytest.raises(ValueError, match="not finite"):
        write_folder(tmp_path, broken(), checkpoint, BaseModel(tiny_transformer), shard_bytes=1)
    assert list(tmp_path.iterdir()) == []


def test_tied_weights_are_written_once(tmp_path, random_model):
    model = copy.deepcopy(random_model("GPT-2").model)
    tuned = moved(model)
    refine(model, tuned, SpectralConfig(builder="ring"), out=tmp_path)
    assert "lm_head.weight" not in load_file(tmp_path / "model.safetensors")
    loaded = type(model).from_pretrained(tmp_path)
    assert torch.equal(loaded.lm_head.weight, tuned.transformer.wte.weight)
    assert not torch.equal(
        loaded.transformer.h[0].attn.c_attn.weight, tuned.transformer.h[0].attn.c_attn.weight
    )


@pytest.fixture
def adapted(tiny_transformer):
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(target_modules=["query", "value"], task_type="SEQ_CLS", r=3, lora_alpha=5)
    return moved(get_peft_model(copy.deepcopy(tiny_transformer), config))


@pytest.fixture
def frozen_base(adapted, tiny_transformer):
    # `moved` also moves what LoRA leaves frozen: the base of this adapter is what is inside of it.
    base = copy.deepcopy(tiny_transformer)
    state = adapted.base_model.model.state_dict()
    names = {name.replace(".base_layer", ""): name for name in state if "lora" not in name}
    base.load_state_dict(
        {
            name: state[
                names.get(name, names.get(name.replace("classifier.", "classifier.original_module.")))
            ]
            for name in base.state_dict()
        }
    )
    return base


@pytest.mark.parametrize("configs", [[PRESERVE], [ROWS], [PRESERVE, ROWS]], ids=["columns", "rows", "both"])
@pytest.mark.parametrize("form", ["folder", "module"])
def test_an_adapter_stays_an_adapter_of_its_rank_with_the_filtered_update(
    frozen_base, adapted, batches, tmp_path, configs, form
):
    from peft import PeftModel

    adapted.save_pretrained(tmp_path / "adapter")
    source = tmp_path / "adapter" if form == "folder" else adapted
    refined = refine(frozen_base, source, configs, batches, out=tmp_path / "out")
    assert refined.form == "adapter"
    before = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert refined.keys() == before.keys()
    changed = {name.split(".")[-2] for name in before if not torch.equal(before[name], refined[name])}
    assert changed == {("lora_A" if config.scheme == "columns" else "lora_B") for config in configs}
    merged = refine(frozen_base, copy.deepcopy(adapted).merge_and_unload(), configs, batches)
    loaded = PeftModel.from_pretrained(copy.deepcopy(frozen_base), tmp_path / "out").merge_and_unload()
    for name in merged:
        if "query" in name or "value" in name:
            # float32 products of rank 3, here in another order.
            torch.testing.assert_close(loaded.state_dict()[name], merged[name], rtol=0, atol=2e-6)


def test_the_norm_of_an_adapter_is_matched(frozen_base, adapted, tmp_path):
    adapted.save_pretrained(tmp_path)
    refined = refine(frozen_base, tmp_path, SpectralConfig(builder="ring", norm_matching=True))
    assert refined.form == "adapter"
    assert refined.norm_kept == pytest.approx(1, abs=1e-6)


def test_an_adapter_is_merged_where_the_filter_mixes_its_factors(frozen_base, adapted, tmp_path):
    adapted.save_pretrained(tmp_path / "adapter")
    config = SpectralConfig(builder="ring", scheme="layers", targets=["query"], source="weights")
    refined = refine(frozen_base, tmp_path / "adapter", config, out=tmp_path / "out")
    assert refined.form == "merged"
    assert any("merged" in remark for remark in refined.remarks)
    loaded = BertForSequenceClassification.from_pretrained(tmp_path / "out")
    name = "bert.encoder.layer.1.attention.self.value.weight"
    expected = copy.deepcopy(adapted).merge_and_unload().state_dict()[name]
    torch.testing.assert_close(loaded.state_dict()[name], expected)


def test_the_identity_keeps_an_adapter_bitwise(frozen_base, adapted, tmp_path):
    adapted.save_pretrained(tmp_path)
    refined = refine(frozen_base, tmp_path, SpectralConfig(builder="ring", response="identity"))
    before = load_file(tmp_path / "adapter_model.safetensors")
    assert all(torch.equal(refined[name], value) for name, value in before.items())


@pytest.mark.parametrize("factor", [0.0, 0.3, 1.0])
def test_scaling_is_the_line_between_base_and_tuned(tiny_transformer, tuned, factor):
    refiner = Refiner(tiny_transformer.bert, ROWS)
    with refiner.opened(tuned, factor=factor) as stream:
        found = dict(stream)
    start = {f"bert.{name}": value for name, value in tiny_transformer.bert.state_dict().items()}
    for name, value in tuned.state_dict().items():
        expected = (
            torch.lerp(start[name], value, factor) if name in start and value.is_floating_point() else value
        )
        assert torch.equal(found[name], expected)


@pytest.mark.parametrize("whole", [None, ["intermediate.dense"]], ids=["factors", "whole"])
def test_a_scaled_adapter_is_written_as_it_was_streamed(tiny_transformer, tmp_path, whole):
    from peft import LoraConfig, PeftModel, get_peft_model

    base, config = (
        copy.deepcopy(tiny_transformer),
        LoraConfig(target_modules=["query"], r=3, modules_to_save=whole),
    )
    adapted = get_peft_model(tiny_transformer, config)
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.add_(
                    0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(5))
                )
    adapted.save_pretrained(tmp_path / "adapter")
    base.save_pretrained(tmp_path / "base")
    refiner = Refiner(tmp_path / "base", SpectralConfig(builder="ring", targets=["query"]))
    with refiner.opened(tmp_path / "adapter", factor=0.4) as stream:
        expected = dict(stream)
    written = refiner.save(tmp_path / "adapter", tmp_path / "out", factor=0.4)
    assert (written.form, written.norm_kept) == ("merged" if whole else "adapter", 0.4)
    assert any("trained as a whole" in remark for remark in written.remarks) == bool(whole)
    if whole:
        found = BertForSequenceClassification.from_pretrained(tmp_path / "out").state_dict()
    else:
        found = PeftModel.from_pretrained(base, tmp_path / "out").merge_and_unload().state_dict()
    for name, value in expected.items():
        # float32: the factor is on B here, on the product there.
        torch.testing.assert_close(found[name], value, rtol=0, atol=1e-6)


def test_a_scaled_model_is_written_as_it_was_streamed(tiny_transformer, tuned, tmp_path):
    tuned.save_pretrained(tmp_path / "tuned")
    refiner = Refiner(tiny_transformer, ROWS)
    with refiner.opened(tmp_path / "tuned", factor=0.4) as stream:
        expected = dict(stream)
    written = refiner.save(tmp_path / "tuned", tmp_path / "out", factor=0.4)
    assert (written.form, written.norm_kept, written.remarks) == ("weights", 0.4, ())
    assert all(torch.equal(written[name], expected[name]) for name in written)


def test_truncated_pickled_missing_and_used_are_refused(tiny_transformer, tuned, tmp_path):
    pickled, cut, used = (tmp_path / name for name in ("pickled", "cut", "used"))
    for folder in (pickled, cut, used):
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({"architectures": ["BertModel"]}))
    (pickled / "pytorch_model.bin").write_bytes(b"no")
    save_file({"x": torch.ones(100)}, cut / "model.safetensors")
    (cut / "model.safetensors").write_bytes((cut / "model.safetensors").read_bytes()[:-9])
    for base, words in ((pickled, "run code"), (cut, "truncated"), (tmp_path / "none", "no file or folder")):
        with pytest.raises(ValueError, match=words):
            refine(base, tuned, ROWS)
        with pytest.raises(ValueError, match=words):
            refine(tiny_transformer, base, ROWS)
    with pytest.raises(ValueError, match="not empty"):
        refine(tiny_transformer, tuned, ROWS, out=used)


@pytest.mark.usefixtures("unchecked_types")
def test_a_base_that_cannot_run_or_has_adapters_is_refused(tiny_transformer, tuned, adapted):
    with pytest.raises(ValueError, match="weights alone"):
        refine(tiny_transformer.state_dict(), tuned.state_dict(), ROWS)
    with pytest.raises(ValueError, match="adapters in it"):
        refine(adapted, adapted, ROWS)
    with pytest.raises(TypeError, match=r"base is a module, .* got int"):
        refine(3, tuned, ROWS)
    with pytest.raises(TypeError, match=r"tuned is a module, .* got int"):
        refine(tiny_transformer, 3, ROWS)
    with pytest.raises(TypeError, match="no tensor"):
        refine(tiny_transformer, {"bert.pooler.dense.weight": 1}, ROWS)
    with pytest.raises(ValueError, match="tuned is on the meta device"):
        refine(tiny_transformer, copy.deepcopy(tuned).to("meta"), ROWS)
    with pytest.raises(ValueError, match="tuned lacks"):
        refine(tiny_transformer, {}, ROWS)


def test_a_solved_filter_and_eigenpairs_agree(tiny_transformer, tuned, batches):
    exact = SpectralConfig(**({**PRESERVE.to_dict(), "filter_method": "exact"}))
    one, other = (
        refine(tiny_transformer, tuned, PRESERVE, batches),
        refine(tiny_transformer, tuned, exact, batches),
    )
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=0, atol=1e-6)  # float32 weights of order 0.1
