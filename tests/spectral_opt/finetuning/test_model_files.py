"""What lies in the files of a run: tied weights once, and as many bytes of graphs as were reckoned."""

import pytest
import torch
from safetensors.torch import load_file

from spectral_opt import SpectralConfig, attach
from spectral_opt.finetuning import graph_bytes, with_ties

from helpers.study_settings import tiny_llama


def test_gathered_weights_that_are_tied_are_saved_once(tmp_path):
    model = tiny_llama()
    apart = {name: value.clone() for name, value in model.state_dict().items()}
    model.save_pretrained(tmp_path, state_dict=with_ties(apart, model.all_tied_weights_keys))
    saved = load_file(tmp_path / "model.safetensors")
    assert saved.keys() == apart.keys() - {"lm_head.weight"}
    assert all(torch.equal(value, apart[name]) for name, value in saved.items())


def test_tied_weights_that_have_become_other_numbers_stay(tmp_path):
    model = tiny_llama()
    apart = {name: value.clone() for name, value in model.state_dict().items()}
    apart["lm_head.weight"] += 1
    found = with_ties(apart, model.all_tied_weights_keys)
    assert torch.equal(found["lm_head.weight"], apart["model.embed_tokens.weight"] + 1)


@pytest.mark.parametrize(
    "options",
    [{"response": "heat", "response_options": {"t": 1.0}}, {"filter_method": "lowrank", "rank": 4}, {}],
    ids=["exact", "lowrank", "default"],
)
def test_a_spectral_state_is_about_as_large_as_was_reckoned(options):
    model = tiny_llama()
    config = SpectralConfig(builder="cosine_knn", builder_options={"k": 4}, source="weights", **options)
    reckoned = graph_bytes(model, [config])
    with attach(model, torch.optim.SGD(model.parameters(), lr=0.1), config) as handle:
        state = handle.state_dict()
    size = sum(value.nbytes for value in state.values())
    # Edges are the most that there can be; names, counters and labels of components are beside.
    assert 0.5 * size < reckoned < 2 * size


def test_a_plain_run_has_no_graphs():
    assert graph_bytes(tiny_llama(), ()) == 0
    assert graph_bytes(tiny_llama(), [SpectralConfig.l2sp(1.0)]) == 0
