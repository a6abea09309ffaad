"""A mean-pooled classifier under the encoder's own names."""

import copy

import pytest
import torch

import paramgraph
from spectral_opt.tasks import PooledEncoder

BATCH = {"input_ids": torch.arange(4, 10).reshape(2, 3), "labels": torch.tensor([0, 2])}


@pytest.fixture
def pooled(classifier):
    return PooledEncoder(classifier.eval())


def test_layers_have_the_names_of_the_encoder_and_the_head_is_no_target(pooled, encoder):
    tables = paramgraph.rows(pooled)
    assert tables == paramgraph.rows(encoder)


def test_it_computes_what_the_classifier_computes(pooled, classifier):
    given, same = classifier(**BATCH), pooled(**BATCH)
    assert torch.equal(given.loss, same.loss)
    assert torch.equal(given.logits, same.logits)


def test_gradients_are_those_of_the_classifier(pooled, classifier):
    exclude = r".*pooler.*"
    own = paramgraph.collect(pooled, paramgraph.rows(pooled, exclude=exclude), "gradients", [BATCH])
    theirs = paramgraph.collect(
        classifier, paramgraph.rows(classifier, exclude=exclude), "gradients", [BATCH]
    )
    for name, value in own.items():
        assert torch.equal(value, theirs[f"encoder.{name}"])


def test_attention_is_read_through_it(pooled):
    maps = paramgraph.collect(pooled, paramgraph.heads(pooled), "attention_maps", [BATCH])
    assert maps["query"].shape[0] == 2


def test_a_copy_stands_on_its_own(pooled):
    copied = copy.deepcopy(pooled)
    with torch.no_grad():
        copied.get_parameter("encoder.layer.0.attention.self.value.weight").mul_(2)
    assert not torch.equal(copied(**BATCH).logits, pooled(**BATCH).logits)


def test_the_mode_is_that_of_the_classifier(classifier):
    assert PooledEncoder(classifier.train()).training
    assert not PooledEncoder(classifier.eval()).training
