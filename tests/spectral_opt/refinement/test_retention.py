"""What of the base a fine-tune keeps is measured on the weights that it has."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from spectral_opt import Refiner, SpectralConfig

# A graph that is the same whatever the base is in.
RING = SpectralConfig(builder="ring", response="tikhonov", response_options={"gamma": 1.0}, penalty=0.0)


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "form", [lambda texts: texts, lambda texts: (texts,), lambda texts: {"input": texts}]
)
def test_a_change_smaller_than_a_step_of_the_base_is_measured(half, form):
    generator = torch.Generator().manual_seed(0)
    weight, texts, little = (torch.randn(size, generator=generator) for size in ((8, 4), (16, 4), (16, 4)))
    base = nn.Sequential(nn.Linear(8, 8, bias=False)).to(half)
    # What the two halves of a text have in common is taken away, and a small change is seen.
    with torch.no_grad():
        base[0].weight.copy_(torch.cat([weight, -weight], dim=1))
    batch = torch.cat([texts, texts + little / 64], dim=1).to(half)
    tuned = copy.deepcopy(base).float()
    delta = 2.0**-12 * tuned[0].weight * torch.randn(8, 8, generator=generator).sign()
    with torch.no_grad():
        tuned[0].weight.add_(delta)
    assert torch.equal(tuned[0].weight.to(half), base[0].weight)
    wide = Refiner(copy.deepcopy(base).float(), RING, {"held_out": [form(batch.float())]})
    found = Refiner(base, RING, {"held_out": [form(batch)]})
    start = wide.find_strength(tuned, 0.5)
    assert start.strength == 0.0
    keep = 1 - (1 - start.retention) / 2
    expected = wide.find_strength(tuned, keep)
    assert expected.strength > 0.0
    assert found.find_strength(tuned, keep) == expected
    assert base[0].weight.dtype == half


@pytest.mark.parametrize("tied_in", ["base", "tuned", "both", "neither"])
def test_what_a_fine_tune_keeps_is_that_of_the_fine_tune_whichever_is_tied(tied_in):
    def make(is_tied, seed):
        config = LlamaConfig(
            vocab_size=40,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=1,
            num_attention_heads=2,
            tie_word_embeddings=is_tied,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return LlamaForCausalLM(config).eval()

    base, tuned = make(tied_in in ("base", "both"), 0), make(tied_in in ("tuned", "both"), 0)
    with torch.no_grad():
        if tied_in == "tuned":
            base.lm_head.weight.copy_(base.model.embed_tokens.weight)
        if tied_in == "base":
            tuned.lm_head.weight.copy_(base.lm_head.weight)
        for number, value in enumerate(tuned.parameters()):
            generator = torch.Generator().manual_seed(number)
            value.add_(0.01 * torch.randn(value.shape, generator=generator))
    texts = {"input_ids": torch.randint(40, (8, 12), generator=torch.Generator().manual_seed(1))}
    with torch.no_grad():
        same = (base(**texts).logits.argmax(-1) == tuned(**texts).logits.argmax(-1)).double().mean()
    found = Refiner(base, RING, {"held_out": [texts]}).find_strength(tuned, 0.01)
    assert found.strength == 0.0
    assert found.retention == pytest.approx(float(same))
    assert 0.02 < found.retention < 0.98


class OneHot(nn.Module):
    """Gives H E[token] of each text, a token."""

    def __init__(self, head):
        super().__init__()
        self.embedding, self.head = nn.Embedding(8, 8), nn.Linear(8, 8, bias=False)
        self.other = nn.Linear(8, 8, bias=False)  # what is filtered, and no text depends on
        with torch.no_grad():
            self.embedding.weight.copy_(torch.eye(8))
            self.head.weight.copy_(head)

    def forward(self, texts):
        return self.head(self.embedding(texts))


def test_a_weight_that_only_the_fine_tune_ties_is_measured_as_it_is_there():
    # The base takes two of eight tokens for each other, the tied identity none: cosines of 0 and of 1.
    base, tuned = OneHot(torch.eye(8)[[0, 1, 2, 3, 4, 5, 7, 6]]), OneHot(torch.eye(8))
    tuned.head.weight = tuned.embedding.weight
    refiner = Refiner(base, replace(RING, targets=["other"]), {"held_out": [torch.arange(8)]})
    found = refiner.find_strength(tuned, 0.7)
    assert (found.strength, found.retention) == (0.0, 0.75)
    with pytest.raises(ValueError, match=r"keep is 0\.8, .* the best is 0\.7500"):
        refiner.find_strength(tuned, 0.8)
