"""The mean-pooled classifier: padding does not count, and it draws no global random number."""

import copy
import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from transformers import BertConfig, GPT2Config, GPT2Model
from transformers.utils import ModelOutput

import paramgraph
from paramgraph.sources import representation
from spectral_opt.errors import DataError
from spectral_opt.tasks import MeanPooledClassifier, PooledEncoder, freeze_embeddings, match_classes


def batch(lengths, seed=0):
    source = torch.Generator().manual_seed(seed)
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    return {"input_ids": torch.randint(4, 10, mask.shape, generator=source) * mask, "attention_mask": mask}


def test_an_embedding_is_the_mean_of_the_states_under_the_mask(classifier):
    texts = batch([5, 2])
    states = classifier.encoder(**texts).last_hidden_state
    expected = torch.stack([states[0].mean(dim=0), states[1, :2].mean(dim=0)])
    torch.testing.assert_close(classifier.embed(**texts), expected)


def test_padding_changes_no_embedding(classifier):
    alone = batch([3])
    padded = {k: nn.functional.pad(v, (0, 4)) for k, v in alone.items()}
    # Attention over masked positions leaves rounding of the softmax, some 1e-7.
    torch.testing.assert_close(classifier.embed(**padded), classifier.embed(**alone), atol=1e-6, rtol=0)


def test_without_a_mask_every_token_counts(classifier):
    texts = batch([4, 4])
    assert torch.equal(classifier.embed(texts["input_ids"]), classifier.embed(**texts))


def test_a_text_without_tokens_has_the_embedding_zero(classifier):
    texts = batch([3, 2])
    texts["attention_mask"][1] = 0
    assert torch.equal(classifier.embed(**texts)[1], torch.zeros(8))


def test_the_output_is_a_model_output_with_the_cross_entropy(classifier):
    output = classifier(**batch([4, 2]), labels=torch.tensor([2, 0]))
    assert isinstance(output, ModelOutput)
    assert output.logits.shape == (2, 3)
    torch.testing.assert_close(output.loss, nn.functional.cross_entropy(output.logits, torch.tensor([2, 0])))
    assert classifier(**batch([4, 2])).loss is None


def test_a_zero_head_has_the_loss_of_chance(classifier):
    nn.init.zeros_(classifier.classifier.weight)
    loss = classifier(**batch([4, 2]), labels=torch.tensor([2, 0])).loss
    assert loss.item() == pytest.approx(math.log(3), abs=1e-6)


def test_the_loss_reaches_the_encoder_and_the_head_but_not_the_pooler(classifier):
    classifier(**batch([4, 2]), labels=torch.tensor([2, 0])).loss.backward()
    assert classifier.classifier.weight.grad.abs().sum() > 0
    assert classifier.encoder.encoder.layer[0].output.dense.weight.grad.abs().sum() > 0
    assert classifier.encoder.pooler.dense.weight.grad is None


def test_the_head_depends_on_the_seed_and_leaves_the_global_generator_alone(encoder):
    before = torch.get_rng_state()
    heads = [MeanPooledClassifier(encoder, 2, seed=seed).classifier.weight for seed in (0, 0, 1)]
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_encoders_work(encoder, dtype):
    model = MeanPooledClassifier(encoder.to(dtype), 2)
    output = model(**batch([4, 2]), labels=torch.tensor([1, 0]))
    assert output.embeddings.dtype == output.logits.dtype == dtype
    assert torch.isfinite(output.loss)


def test_a_decoder_serves_as_encoder_too():
    model = MeanPooledClassifier(GPT2Model(GPT2Config(vocab_size=10, n_embd=8, n_layer=1, n_head=2)), 2)
    assert model(**batch([4, 2])).logits.shape == (2, 2)


def test_the_configuration_is_the_encoders(classifier):
    assert isinstance(classifier.config, BertConfig)


def test_one_class_is_refused(encoder):
    with pytest.raises(ValueError, match="at least 2 classes"):
        MeanPooledClassifier(encoder, 1)


def test_an_encoder_without_a_hidden_size_is_refused():
    with pytest.raises(ValueError, match="give a bare model of AutoModel"):
        MeanPooledClassifier(nn.Linear(2, 2), 2)


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


def test_the_representation_is_the_embedding_and_its_gradients_are_those_of_the_bare_encoder(
    pooled, classifier, encoder
):
    texts = batch([5, 2])
    torch.testing.assert_close(representation(classifier, texts), classifier.embed(**texts))
    found = paramgraph.collect(pooled, paramgraph.rows(pooled), "output_gradients", [texts])
    expected = paramgraph.collect(encoder, paramgraph.rows(encoder), "output_gradients", [texts])
    torch.testing.assert_close(found, expected)


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


def model(**label2id):
    named = nn.Module()
    named.config = SimpleNamespace(label2id=label2id, num_labels=len(label2id))
    return named


def test_names_go_first_whatever_their_order_and_case():
    assert match_classes(model(Bad=0, Good=1), ("good", "bad")) == ([1, 0], [])


@pytest.mark.parametrize("given", [{"id2label": {0: "bad", 1: "good"}}, {"label2id": {"bad": 0, "good": 1}}])
def test_names_are_found_in_either_field_of_a_configuration(given):
    # Of transformers 5: `label2id` is None where only `id2label` was given.
    empty = {"id2label": None, "label2id": None, "num_labels": 2}
    named = nn.Module()
    named.config = SimpleNamespace(**(empty | given))
    assert match_classes(named, ("good", "bad")) == ([1, 0], [])
    if "id2label" in given:
        named.config = BertConfig(**given)
        assert match_classes(named, ("good", "bad")) == ([1, 0], [])


def test_a_configuration_that_names_its_classes_in_two_ways_is_refused():
    named = nn.Module()
    named.config = SimpleNamespace(
        id2label={0: "bad", 1: "good"}, label2id={"good": 0, "bad": 1}, num_labels=2
    )
    with pytest.raises(DataError, match="in two ways"):
        match_classes(named, ("good", "bad"))


def test_numbers_are_the_classes_that_they_name():
    assert match_classes(model(LABEL_0=0, LABEL_1=1, LABEL_2=2), ("2", "0")) == ([2, 0], [])


def test_other_names_are_matched_by_order_and_that_is_said():
    numbers, (remark,) = match_classes(model(LABEL_0=0, LABEL_1=1), ("fresh", "rotten"))
    assert numbers == [0, 1]
    assert remark == "classes of data and model matched by order: fresh is LABEL_0, rotten is LABEL_1"


def test_numbers_of_classes_that_the_model_names_are_said():
    classes, remarks = match_classes(model(negative=0, positive=1), ("0", "1"))
    assert classes == [0, 1]
    assert remarks == ["classes of data and model matched by number: 0 is negative, 1 is positive"]


@pytest.mark.parametrize("names", [("Neg", "neg", "pos"), ("0", "00"), ("1", "1")])
def test_two_classes_of_the_data_are_never_one_of_the_model(names):
    with pytest.raises(DataError, match="two of them are one class of the model"):
        match_classes(model(neg=0, pos=1), names)


def test_case_tells_classes_that_only_case_tells_apart():
    named = model(A=0, a=1, b=2)
    assert match_classes(named, ("A", "b")) == ([0, 2], [])
    assert match_classes(named, ("a", "B")) == ([1, 2], [])


@pytest.mark.parametrize("names", [("pos", "other"), ("not entailment", "neg")])
def test_an_order_that_a_name_contradicts_is_no_match(names):
    with pytest.raises(DataError, match="some are the same, in another order"):
        match_classes(model(neg=0, pos=1), names)


def test_another_number_of_classes_is_refused():
    with pytest.raises(DataError, match="the classes a, b, c, and the model has 2 others"):
        match_classes(model(LABEL_0=0, LABEL_1=1), ("a", "b", "c"))


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_embeddings_are_frozen_wherever_an_encoder_has_them(encoder, kind):
    gpt2 = GPT2Model(GPT2Config(vocab_size=20, n_embd=8, n_layer=1, n_head=2, n_positions=16))
    chosen, frozen = {"bert": (encoder, "embeddings."), "gpt2": (gpt2, "wte.")}[kind]
    freeze_embeddings(chosen)
    for name, parameter in chosen.named_parameters():
        assert parameter.requires_grad != name.startswith(frozen)
