"""Whose tokens a layer sees, by its name, and which of them are real, by the batch."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from paramgraph.sources import real_tokens, stream_of, stream_of_signal


def model(encoder_decoder):
    module = nn.Module()
    module.config = SimpleNamespace(is_encoder_decoder=encoder_decoder)
    return module


@pytest.mark.parametrize(
    ("parameter", "encoder_decoder", "stream", "of_signal"),
    [
        ("encoder.block.0.layer.0.SelfAttention.q.weight", True, "encoder", "encoder"),
        ("decoder.block.0.layer.0.SelfAttention.k.weight", True, "decoder", "decoder"),
        ("decoder.block.0.layer.1.EncDecAttention.q.weight", True, "cross", "decoder"),
        ("decoder.block.0.layer.1.EncDecAttention.k.weight", True, "cross", "encoder"),
        ("bert.encoder.layer.0.attention.self.key.weight", False, "", ""),
        ("bert.encoder.layer.0.crossattention.self.key.weight", False, "cross", "encoder"),
        ("transformer.h.0.crossattention.q_attn.weight", False, "cross", ""),
        ("transformer.h.0.crossattention.c_attn.weight", False, "cross", "encoder"),
        ("transformer.h.0.attn.c_attn.weight", False, "", ""),
    ],
)
def test_names_tell_whose_tokens_a_layer_sees(parameter, encoder_decoder, stream, of_signal):
    assert stream_of(model(encoder_decoder), parameter) == stream
    assert stream_of_signal(model(encoder_decoder), parameter) == of_signal


@pytest.mark.parametrize(
    ("encoder_decoder", "stream", "real"),
    [
        (True, "encoder", [True, False, False]),
        (True, "decoder", [True, True, False]),
        (False, "", [True, False, False]),
        (False, "decoder", [True, False, False]),
        (False, "encoder", [False, False, True]),
    ],
)
def test_each_part_has_its_own_mask(encoder_decoder, stream, real):
    batch = {
        "attention_mask": torch.tensor([[1, 0, 0]]),
        "decoder_attention_mask": torch.tensor([[1, 1, 0]]),
        "encoder_attention_mask": torch.tensor([[0, 0, 1]]),
        "labels": torch.tensor([[-100, 3, 3]]),
    }
    assert real_tokens(model(encoder_decoder), batch, stream).tolist() == [real]


def test_labels_stand_for_the_mask_of_a_decoder_only_where_there_is_an_encoder():
    batch = {"labels": torch.tensor([[3, -100]])}
    assert real_tokens(model(True), batch, "decoder").tolist() == [[True, False]]
    assert real_tokens(model(False), batch, "decoder") is None
    assert real_tokens(model(False), torch.ones(1, 2), "") is None


@pytest.mark.parametrize(
    "mask",
    [
        torch.tensor([[1, 1, 0]]),
        torch.tensor([[1.0, 1.0, 0.0]]),
        torch.tensor([[2, 1, 0]]),  # global and local attention, or texts packed one after another
        torch.tensor([[[[True, False, False], [True, True, False], [True, True, False]]]]),
        torch.tensor([[[[0.0, -1e9, -1e9], [0.0, 0.0, -1e9], [0.0, 0.0, -1e9]]]]),
    ],
)
def test_masks_of_every_kind_say_which_tokens_are_padding(mask):
    assert real_tokens(model(False), {"attention_mask": mask}, "").tolist() == [[True, True, False]]


@pytest.mark.parametrize("mask", [torch.ones(1, 1, 3, 3).tril() > 0, torch.zeros(1, 1, 3, 3)])
def test_a_mask_of_pairs_in_which_every_token_is_seen_knows_no_padding(mask):
    assert real_tokens(model(False), {"attention_mask": mask}, "") is None
