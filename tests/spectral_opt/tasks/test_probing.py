"""The linear probe is scikit-learn's logistic regression, written as a softmax head."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from spectral_opt.tasks import (
    MeanPooledClassifier,
    draw_labels,
    embed_texts,
    fit_best_probe,
    fit_linear_probe,
    predict_logits,
    tokenize_batches,
)

TEXTS = ["a good film", "bad", "a long long long film", "short", "a bad film"]
TRIED = (0.01, 0.1, 1.0, 10.0)


def global_numpy_state():
    return np.random.get_state()[1].copy()  # noqa: NPY002  (the test is that nobody used it)


@pytest.fixture(params=[2, 3], ids=["binary", "multinomial"])
def problem(request):
    """Overlapping Gaussian classes, so that the optimum is finite."""
    source = np.random.default_rng(0)
    labels = np.arange(60) % request.param
    features = source.normal(size=(60, 8)) + labels[:, None] * 0.5
    return request.param, torch.tensor(features, dtype=torch.float32), labels


def test_the_head_gives_the_probabilities_of_scikit_learn(encoder, problem):
    classes, features, labels = problem
    model = MeanPooledClassifier(encoder, classes)
    accuracy = fit_linear_probe(model, features, labels, C=0.5)
    peer = LogisticRegression(C=0.5, max_iter=2000, tol=1e-6).fit(features.double().numpy(), labels)
    ours = model.classifier(features).softmax(dim=1).detach().numpy()
    # The head is float32: 1e-6 is ten units in the last place of a probability.
    np.testing.assert_allclose(ours, peer.predict_proba(features.numpy()), atol=1e-6)
    assert accuracy == pytest.approx((ours.argmax(axis=1) == labels).mean())


def test_the_fit_is_the_minimum_of_the_stated_objective(encoder, problem):
    classes, features, labels = problem
    model = MeanPooledClassifier(encoder, classes)
    fit_linear_probe(model, features, labels, C=0.5)
    weight = model.classifier.weight.detach().double().requires_grad_()
    bias = model.classifier.bias.detach().double()
    loss = torch.nn.functional.cross_entropy(
        features.double() @ weight.T + bias, torch.from_numpy(labels), reduction="sum"
    )
    # Two classes share one row w = 2 * W[1], so that |w|^2 = 2 |W|^2: twice the penalty of the softmax rows.
    penalty = weight.square().sum() * (1.0 if classes == 2 else 0.5)
    (penalty + 0.5 * loss).backward()
    assert weight.grad.abs().max() < 1e-3  # of gradients of the loss of order 10


def test_only_the_head_changes_and_no_random_number_is_drawn(encoder, problem):
    classes, features, labels = problem
    model = MeanPooledClassifier(encoder, classes)
    before = {name: value.clone() for name, value in model.encoder.state_dict().items()}
    states = torch.get_rng_state(), global_numpy_state()
    fit_linear_probe(model, features, labels)
    first = model.classifier.weight.clone()
    fit_linear_probe(model, features, torch.from_numpy(labels))
    assert torch.equal(model.classifier.weight, first)
    assert all(torch.equal(value, before[name]) for name, value in model.encoder.state_dict().items())
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(global_numpy_state(), states[1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"C": 0.0}, "C is 0.0"),
        ({"labels": [0, 1]}, "2 labels for 60 embeddings"),
        ({"labels": [0] * 60}, "every class from 0 to 2 must occur"),
        ({"labels": [0, 1, 2, 3] * 15}, "every class from 0 to 2 must occur"),
        ({"embeddings": torch.full((60, 8), torch.nan)}, "not finite"),
    ],
)
def test_wrong_input_is_named(classifier, change, message):
    given = {"embeddings": torch.zeros(60, 8), "labels": [0, 1, 2] * 20, "C": 1.0, **change}
    with pytest.raises(ValueError, match=message):
        fit_linear_probe(classifier, given["embeddings"], given["labels"], C=given["C"])


@pytest.mark.parametrize("order", ["given", "length", "shuffled"])
def test_embeddings_and_logits_come_in_the_order_of_the_texts(classifier, tokenizer, order):
    batches = tokenize_batches(tokenizer, TEXTS, batch_size=2, order=order)
    embeddings = embed_texts(classifier, batches)
    alone = [embed_texts(classifier, tokenize_batches(tokenizer, [text])) for text in TEXTS]
    # Padding and batch size change the order of float32 sums, some 1e-7.
    torch.testing.assert_close(embeddings, torch.cat(alone), atol=1e-6, rtol=0)
    torch.testing.assert_close(
        predict_logits(classifier, batches), classifier.classifier(embeddings).detach()
    )


def test_evaluation_is_without_dropout_and_leaves_every_mode(classifier, tokenizer):
    batches = tokenize_batches(tokenizer, TEXTS)
    expected = embed_texts(classifier.eval(), batches)
    classifier.train()
    classifier.encoder.embeddings.eval()
    assert torch.equal(embed_texts(classifier, batches), expected)
    assert classifier.training
    assert not classifier.encoder.embeddings.training


def test_half_precision_embeddings_come_back_as_float32(encoder, tokenizer):
    model = MeanPooledClassifier(encoder.to(torch.bfloat16), 2)
    embeddings = embed_texts(model, tokenize_batches(tokenizer, TEXTS))
    assert embeddings.dtype == torch.float32
    fit_linear_probe(model, embeddings, [0, 1, 0, 1, 1])
    assert model.classifier.weight.dtype == torch.bfloat16


def test_the_best_probe_is_chosen_on_other_texts(classifier, generator):
    embeddings = torch.randn(60, 8, generator=generator)
    labels = (embeddings[:, 0] > 0.5).long() + (embeddings[:, 0] > -0.5).long()
    strength = fit_best_probe(classifier, embeddings[:30], labels[:30], embeddings[30:], labels[30:])
    scores = {}
    for tried in TRIED:
        fit_linear_probe(classifier, embeddings[:30], labels[:30], C=tried)
        scores[tried] = (classifier.classifier(embeddings[30:]).argmax(dim=1) == labels[30:]).float().mean()
    assert scores[strength] == max(scores.values())
    assert all(scores[tried] < scores[strength] for tried in TRIED if tried < strength)


def test_drawn_labels_come_as_often_as_the_model_predicts_them(encoder, tokenizer):
    model = MeanPooledClassifier(encoder, 3)
    with torch.no_grad():
        model.classifier.bias.copy_(torch.tensor([0.7, 0.2, 0.1]).log())
        model.classifier.weight.zero_()
    batches = tokenize_batches(tokenizer, TEXTS * 200, order="length")
    labels, state = draw_labels(model, batches, seed=0), torch.get_rng_state()
    # Three standard deviations of a share of 1,000 draws.
    assert np.bincount(labels) / 1000 == pytest.approx([0.7, 0.2, 0.1], abs=0.044)
    assert (labels == draw_labels(model, batches, seed=0)).all()
    assert (labels != draw_labels(model, batches, seed=1)).any()
    assert torch.equal(torch.get_rng_state(), state)


def test_a_drawn_label_is_that_of_its_text_whatever_the_order_of_the_batches(encoder, tokenizer):
    model = MeanPooledClassifier(encoder, 2)
    embeddings = embed_texts(model, tokenize_batches(tokenizer, TEXTS))
    fit_linear_probe(model, embeddings, [0, 1, 0, 1, 1], C=1e6)  # which is certain of every text
    assert draw_labels(
        model, tokenize_batches(tokenizer, TEXTS, order="length", batch_size=2), 0
    ).tolist() == [0, 1, 0, 1, 1]
