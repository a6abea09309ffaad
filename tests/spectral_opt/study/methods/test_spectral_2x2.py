"""Penalty, filter and both on one graph of gradients, and the paper as printed."""

import copy

import pytest
import torch
from transformers import BertConfig, BertModel

from paramgraph import lowpass
from spectral_opt.study import fine_tune, get_method, prepare_method
from spectral_opt.tasks import MeanPooledClassifier

SPECTRAL = ("spectral_penalty", "spectral_filter", "spectral_both", "literal")


@pytest.fixture
def start():
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder = BertModel(BertConfig(vocab_size=100, max_position_embeddings=16, **small))
    return MeanPooledClassifier(encoder, 2).eval()


def tuned(start, batches, name, learning_rate=3e-3, **options):
    method, given = get_method(name), {"task": batches[4:]}
    ready = prepare_method(start, method, given, options=options)
    return fine_tune(
        start, batches[:2], method, learning_rate=learning_rate, options=options, prepared=ready
    ).model


def is_same(first, second):
    return all(
        torch.equal(one, other) for one, other in zip(first.parameters(), second.parameters(), strict=True)
    )


@pytest.mark.parametrize(
    ("name", "off"), [("spectral_filter", {"strength": 0.0}), ("spectral_penalty", {"gamma": 0.0})]
)
def test_both_with_one_half_off_is_the_other_half_bitwise(start, tiny_batches, name, off):
    half, both = tuned(start, tiny_batches, name), tuned(start, tiny_batches, "spectral_both", **off)
    assert is_same(half, both)
    assert not is_same(half, tuned(start, tiny_batches, "spectral_both"))


def test_both_with_both_halves_off_is_adamw_bitwise(start, tiny_batches):
    nothing = tuned(start, tiny_batches, "spectral_both", strength=0.0, gamma=0.0)
    assert is_same(nothing, tuned(start, tiny_batches, "adamw"))


@pytest.mark.parametrize(
    ("name", "null"),
    [(name, "permuted") for name in SPECTRAL]
    + [("spectral_both", null) for null in ("random", "strongest", "swapped")],
)
def test_a_null_is_another_run(start, tiny_batches, name, null):
    # A cut-off of 5 lies inside the spectrum.
    options = {"cutoff": 5.0, "optimizer": "adamw"} if name == "literal" else {}
    plain, control = (tuned(start, tiny_batches, name, **options, null=kind) for kind in (None, null))
    assert not is_same(plain, control)


@pytest.mark.parametrize("placement", ["gradient", "update", "basis"])
def test_the_filter_acts_where_it_is_placed(start, tiny_batches, placement):
    (config,) = get_method("spectral_filter").configure({"gamma": 0.5, "placement": placement, "null": None})
    assert config.placement == placement
    assert config.response_options == {"gamma": 0.5}
    assert not is_same(
        tuned(start, tiny_batches, "spectral_filter", placement=placement),
        tuned(start, tiny_batches, "adamw"),
    )


def test_the_printed_method_is_descent_on_the_joint_loss_through_the_low_pass(start, tiny_batches):
    options, name = {"strength": 0.2, "cutoff": 5.0}, "encoder.encoder.layer.0.attention.self.query.weight"
    method = get_method("literal")
    prepared = prepare_method(start, method, {"task": tiny_batches[4:]}, options=options)
    (ready,) = (table for table in prepared[0] if table.table.group == name)
    batch = tiny_batches[:1]
    found = fine_tune(start, batch, method, learning_rate=0.1, options=options, prepared=prepared).model
    other = copy.deepcopy(start).train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # dropout's
        other(**batch[0]).loss.backward()
    weight = dict(other.named_parameters())[name]
    X, L = weight.detach().double(), torch.from_numpy(ready.operator.to_dense())
    values, U = torch.linalg.eigh(L)
    # lambda sum_ij W_ij |x_i - x_j|^2 over ordered pairs is 2 lambda tr(X'LX), and its gradient 4 lambda L X.
    joint = weight.grad.double() + 4 * 0.2 * L @ X
    expected = X - 0.1 * U @ (lowpass(5.0)(values)[:, None] * (U.T @ joint))
    assert 0 < int((values > 5.0).sum()) < len(values)
    # Weights of size 0.1 in float32.
    torch.testing.assert_close(dict(found.named_parameters())[name].double(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("spectral_filter", {"placement": "after"}, "placement is 'after'"),
        ("spectral_filter", {"gamma": -1.0}, "gamma"),
        ("spectral_both", {"strength": "much"}, "strength"),
        ("spectral_penalty", {"null": "rotated"}, "of a Laplacian says nothing"),
        ("literal", {"optimizer": "lion"}, "optimizer is 'lion'"),
    ],
)
def test_a_wrong_option_is_refused_when_the_method_is_configured(name, options, words):
    method = get_method(name)
    with pytest.raises((ValueError, TypeError), match=words):
        method.configure({**method.options, **options})
