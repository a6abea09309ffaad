"""Refinement of a base that stays in its files: the same result, in little memory, or refused before it is loaded."""

import bisect
import copy
import errno
import os

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModel, LlamaConfig, LlamaForCausalLM

from spectral_opt import Refiner, SpectralConfig, refine
from spectral_opt.refinement import choose_placement

pytestmark = pytest.mark.filterwarnings("ignore:.* equally strong ones")
TEXTS = torch.randint(1, 40, (2, 2, 6), generator=torch.Generator().manual_seed(2))
BATCHES = {"preserve": [{"input_ids": tokens, "attention_mask": torch.ones_like(tokens)} for tokens in TEXTS]}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Save a base, and a fine-tune of it, in several files each."""
    config = LlamaConfig(
        vocab_size=40,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        base = LlamaForCausalLM(config).eval()
        tuned = copy.deepcopy(base)
        with torch.no_grad():
            for parameter in tuned.parameters():
                parameter += 0.05 * torch.randn_like(parameter)
    found = {}
    for name, model in (("base", base), ("tuned", tuned)):
        found[name] = tmp_path_factory.mktemp(name)
        model.save_pretrained(found[name], max_shard_size="8KB")
    return found


@pytest.mark.parametrize("graph", ["columns", "product"])
def test_base_and_graphs_in_files_give_the_same_weights(folders, graph):
    paths = folders["base"], folders["tuned"]
    whole = refine(*paths, "preserve", BATCHES, strength=0.3, memory="whole", graph=graph)
    blocks = refine(*paths, "preserve", BATCHES, strength=0.3, memory="blocks", graph=graph)
    assert list(whole) == list(blocks)
    moved = refine(*paths, "preserve", BATCHES, strength=0.0, graph=graph)
    for name, expected in whole.items():
        # Float32 products whose terms are added in another order; the filter itself moves weights by 1e-3 and more.
        torch.testing.assert_close(blocks[name], expected, rtol=0, atol=2e-6)
    name = "model.layers.1.mlp.down_proj.weight"
    assert float((whole[name] - moved[name]).abs().max()) > 1e-3
    assert blocks.remarks == whole.remarks
    assert blocks.norm_kept == pytest.approx(whole.norm_kept, rel=1e-5)
    assert whole.memory == "base and graphs in memory: as asked"
    assert blocks.memory.startswith("base and graphs in files, block by block: as asked; about")


def test_what_is_written_is_read_from_its_files_and_loads_anywhere(folders, tmp_path):
    state = refine(
        folders["base"],
        folders["tuned"],
        "preserve",
        BATCHES,
        graph="columns",
        out=tmp_path / "out",
        memory="blocks",
    )
    loaded = AutoModel.from_pretrained(tmp_path / "out")
    assert torch.equal(loaded.layers[1].mlp.up_proj.weight, state["model.layers.1.mlp.up_proj.weight"])
    assert not state["model.layers.1.mlp.up_proj.weight"].is_meta


def test_an_adapter_stays_one(folders, tmp_path):
    base = LlamaForCausalLM.from_pretrained(folders["base"])
    wrapped = get_peft_model(
        base, LoraConfig(r=2, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    )
    wrapped.save_pretrained(tmp_path)
    states = [
        refine(folders["base"], tmp_path, "preserve", BATCHES, graph="columns", memory=memory)
        for memory in ("whole", "blocks")
    ]
    assert [state.form for state in states] == ["adapter", "adapter"]
    for name, expected in states[0].items():
        torch.testing.assert_close(states[1][name], expected, rtol=0, atol=2e-6)


def test_names_of_one_tensor_share_it_in_files_too(folders):
    tuned = LlamaForCausalLM.from_pretrained(folders["tuned"])
    state = refine(
        folders["base"], tuned, "preserve", BATCHES, graph="columns", rest="scaled", memory="blocks"
    )
    embeddings = state["model.embed_tokens.weight"]
    assert state["lm_head.weight"].data_ptr() == embeddings.data_ptr()
    assert not torch.equal(embeddings, tuned.model.embed_tokens.weight)


def test_another_model_is_told_before_graphs_are_built(folders, tmp_path, monkeypatch):
    config = LlamaConfig.from_pretrained(folders["base"], num_hidden_layers=3)
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    monkeypatch.setattr("spectral_opt.refinement.refiner.RefinementFilters.build", None)
    for memory in ("whole", "blocks"):
        with pytest.raises(ValueError, match="not two states of one model: base lacks"):
            refine(folders["base"], tmp_path, "preserve", BATCHES, graph="columns", memory=memory)


def test_several_fine_tunes_share_moments_that_were_written_once(folders, tmp_path):
    refiner = Refiner(folders["base"], "preserve", BATCHES, graph="product", memory="blocks")
    refiner.write_moments(tmp_path / "moments")
    again = Refiner(
        folders["base"], "preserve", graph="product", moments=tmp_path / "moments", memory="blocks"
    )
    in_memory = Refiner(folders["base"], "preserve", graph="product", moments=tmp_path / "moments")
    for tuned in (folders["tuned"], folders["base"]):
        states = [one.apply(tuned) for one in (refiner, again, in_memory)]
        for name, expected in states[0].items():
            torch.testing.assert_close(states[1][name], expected, rtol=0, atol=2e-6)
            torch.testing.assert_close(states[2][name], expected, rtol=0, atol=2e-6)


PLACE = "spectral_opt.refinement._memory"


@pytest.fixture(autouse=True)
def on_a_disk(monkeypatch):
    """Have temporary files on a disk, wherever the tests run."""
    monkeypatch.setattr(f"{PLACE}.lies_in_memory", lambda folder: False)


def test_temporary_files_without_room_are_refused_before_the_base_is_loaded(folders, monkeypatch):
    monkeypatch.setattr(f"{PLACE}.RUNNING", 0)
    monkeypatch.setattr(f"{PLACE}.available_bytes", lambda: 90_000)
    monkeypatch.setattr("spectral_opt.refinement.refiner.load_base", None)  # it must not come to it
    configs = "preserve", BATCHES
    with monkeypatch.context() as patched:
        patched.setattr(f"{PLACE}.lies_in_memory", lambda folder: True)
        with pytest.raises(
            ValueError, match=r"not enough memory: temporary files .* set TMPDIR to a folder on a disk"
        ):
            Refiner(folders["base"], *configs, graph="columns")
    monkeypatch.setattr(f"{PLACE}.free_disk_bytes", lambda folder: 1000)
    with pytest.raises(ValueError, match=r"no room for about .* of temporary files .* set TMPDIR"):
        Refiner(folders["base"], *configs, graph="columns")


def test_files_are_chosen_where_memory_does_not_suffice(folders, monkeypatch):
    def placed(free):
        monkeypatch.setattr(f"{PLACE}.available_bytes", lambda: free)
        return Refiner(folders["base"], "preserve", BATCHES, graph="columns").placement

    # What libraries take outweighs a tiny model: without it 120 kB are needed, or 57 kB by blocks.
    monkeypatch.setattr(f"{PLACE}.RUNNING", 0)
    assert [placed(free).chosen for free in (10**9, None, 90_000)] == ["whole", "whole", "blocks"]
    assert "in memory about 0.00012 GB would be needed" in placed(90_000).reason
    with pytest.raises(ValueError, match=r"not enough memory: one block at a time needs about .* free"):
        placed(1000)


def test_a_share_to_keep_is_refused_before_graphs_are_built_where_files_were_chosen(folders, monkeypatch):
    monkeypatch.setattr(f"{PLACE}.RUNNING", 0)
    monkeypatch.setattr(f"{PLACE}.available_bytes", lambda: 90_000)
    monkeypatch.setattr("spectral_opt.refinement.refiner.RefinementFilters.build", None)
    paths = folders["base"], folders["tuned"]
    with pytest.raises(ValueError, match="keep compares a copy of the base in memory"):
        refine(*paths, "preserve", {"preserve": iter(BATCHES["preserve"])}, graph="columns", keep=0.9)


def test_where_states_are_measured_a_wide_copy_and_a_null_are_counted(folders, monkeypatch):
    monkeypatch.setattr(f"{PLACE}.RUNNING", 0)
    monkeypatch.setattr(f"{PLACE}._width", lambda model: 2)
    model = LlamaForCausalLM.from_pretrained(folders["base"])
    count = sum(parameter.numel() for parameter in model.parameters())
    graphs = 8 * 2 * (6 * 16**2 + 24**2)
    configs = [SpectralConfig.preserve(graph="columns")]

    def fits(free, more):
        monkeypatch.setattr(f"{PLACE}.available_bytes", lambda: free)
        try:
            return choose_placement("auto", folders["base"], configs, {}, *more).chosen == "whole"
        except ValueError:  # not one block either
            return False

    # The least that suffices: what is needed.
    needs = [
        bisect.bisect_left(range(10**6), True, key=lambda free, more=more: fits(free, more))
        for more in ((), (True,), (True, True))
    ]
    assert [need - needs[0] for need in needs] == [0, 2 * count, 2 * count + graphs]


def test_a_base_too_large_for_memory_is_refused_before_it_is_loaded(folders, monkeypatch):
    monkeypatch.setattr(f"{PLACE}.available_bytes", lambda: 1000)
    monkeypatch.setattr(LlamaForCausalLM, "from_pretrained", None)
    config = SpectralConfig(builder="cosine_knn", builder_options={"k": 3}, source="weights")
    with pytest.raises(
        ValueError, match=r"not enough memory: .*memory='blocks' is for graphs of second moments"
    ):
        Refiner(folders["base"], config)


def test_what_cannot_be_in_files_is_refused(folders, tmp_path):
    base, tuned = folders["base"], folders["tuned"]
    with pytest.raises(ValueError, match="base was given as a module: give its folder"):
        Refiner(LlamaForCausalLM.from_pretrained(base), "preserve", BATCHES, memory="blocks")
    with pytest.raises(ValueError, match="keep compares a copy of the base in memory"):
        refine(base, tuned, "preserve", BATCHES, keep=0.9, memory="blocks")
    refiner = Refiner(base, "preserve", BATCHES, graph="columns", memory="blocks")
    with pytest.raises(ValueError, match="keep compares"):
        refiner.find_strength(tuned, 0.9)
    with pytest.raises(ValueError, match="nulls are held in memory"):
        refiner.null("permuted")
    for graph in ("columns", "product"):
        with pytest.raises(
            ValueError, match="nulls, which are held in memory: null is 'rotated', leave it out"
        ):
            Refiner(base, SpectralConfig.preserve(1.0, graph, null="rotated"), BATCHES, memory="blocks")
    with pytest.raises(ValueError, match="is for graphs of second moments"):
        Refiner(
            base,
            SpectralConfig(builder="cosine_knn", builder_options={"k": 3}, source="gradients"),
            BATCHES["preserve"],
            memory="blocks",
        )


def test_a_disk_without_room_for_graphs_leaves_nothing(folders, tmp_path, monkeypatch):
    def full(descriptor, start, size):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(
        OSError, match=r"no room for a temporary file .* \(No space left on device\): set TMPDIR"
    ):
        refine(
            folders["base"],
            folders["tuned"],
            "preserve",
            BATCHES,
            graph="columns",
            out=tmp_path / "out",
            memory="blocks",
        )
    assert not any((tmp_path / "out").iterdir())
