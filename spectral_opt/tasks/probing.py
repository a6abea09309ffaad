"""Frozen embeddings, and a head fitted to them: the start and the first baseline of a fine-tuning run."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from spectral_opt.tasks.batches import TokenizedBatches
from spectral_opt.tasks.classifier import MeanPooledClassifier

PROBE_STRENGTHS = (0.01, 0.1, 1.0, 10.0)


def embed_texts(model: MeanPooledClassifier, batches: TokenizedBatches) -> Float[Tensor, "texts width"]:
    """Return the mean-pooled embedding of every text, without dropout and gradients.

    float32 on the CPU, in the order of the texts given to `tokenize_batches`, whatever the order of the batches; the
    model keeps its mode.
    """
    return _rows_of_texts(model, batches, model.embed)


def predict_logits(model: MeanPooledClassifier, batches: TokenizedBatches) -> Float[Tensor, "texts classes"]:
    """Return the logits of every text, as `embed_texts` returns embeddings."""
    return _rows_of_texts(model, batches, lambda **batch: model(**batch).logits)


def draw_labels(
    model: MeanPooledClassifier, batches: TokenizedBatches, seed: int
) -> Int64[np.ndarray, " texts"]:
    """Draw a label for each text from the model's own prediction, in the order of the texts.

    Gradients of the loss with these, of which nobody annotated one, have Fisher's covariance.
    """
    with torch.no_grad():
        chances = model.classifier(embed_texts(model, batches)).softmax(dim=1)
    drawn = torch.multinomial(chances, 1, generator=torch.Generator().manual_seed(seed))
    found: Int64[np.ndarray, " texts"] = drawn.squeeze(1).numpy()
    return found


def fit_linear_probe(
    model: MeanPooledClassifier,
    embeddings: Float[Tensor, "texts width"],
    labels: Sequence[int] | np.ndarray | Tensor,
    *,
    C: float = 1.0,
    max_iter: int = 2000,
) -> float:
    r"""Set the head of a classifier to logistic regression on frozen embeddings; return its accuracy there.

    .. math:: \min_{W, b} \; \tfrac12 \|W\|^2 + C \sum_i \ell(W e_i + b, y_i)

    with the cross-entropy :math:`\ell` in nats. Two classes are fitted as one row :math:`w` and written as the
    softmax rows :math:`\mp w / 2`, which give the same probabilities. The fit starts at zero and draws no random
    number; only `model.classifier` changes, in place. Every class of the head must occur, `C` must be positive, and
    embeddings finite (ValueError). scikit-learn warns where `max_iter` steps of L-BFGS do not suffice.

    >>> from spectral_opt.tasks import MeanPooledClassifier, load_model, tokenize_batches
    >>> loaded = load_model()
    >>> model = MeanPooledClassifier(loaded.encoder, num_labels=2)
    >>> batches = tokenize_batches(loaded.tokenizer, ["a joy", "superb", "a bore", "dreadful"])
    >>> fit_linear_probe(model, embed_texts(model, batches), [1, 1, 0, 0], C=10.0)
    1.0
    """
    from sklearn.linear_model import LogisticRegression

    classes = model.classifier.out_features
    features = embeddings.detach().double().cpu().numpy()
    target = np.asarray(labels, dtype=np.int64)
    if not C > 0:
        raise ValueError(f"C is {C}: it must be positive")
    if target.shape != (len(features),):
        raise ValueError(f"{target.shape[0]} labels for {len(features)} embeddings: give one label per text")
    if not np.array_equal(np.unique(target), np.arange(classes)):
        raise ValueError(
            f"labels {np.unique(target).tolist()} for a head of {classes} classes: every class from 0 to "
            f"{classes - 1} must occur"
        )
    if not np.isfinite(features).all():
        raise ValueError("an embedding is not finite: the encoder's weights or the texts are broken")
    fitted = LogisticRegression(C=C, max_iter=max_iter, tol=1e-6).fit(features, target)
    weight, bias = fitted.coef_, fitted.intercept_
    if classes == 2:
        weight, bias = np.vstack([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    with torch.no_grad():
        model.classifier.weight.copy_(torch.from_numpy(weight))
        model.classifier.bias.copy_(torch.from_numpy(bias))
    return float(fitted.score(features, target))


def fit_best_probe(
    model: MeanPooledClassifier,
    embeddings: Float[Tensor, "texts width"],
    labels: Sequence[int] | np.ndarray | Tensor,
    dev_embeddings: Float[Tensor, "others width"],
    dev_labels: Sequence[int] | np.ndarray | Tensor,
) -> float:
    """Set the head to the linear probe that is best on other texts, and return its C, of 0.01, 0.1, 1 and 10.

    The stronger regularisation wins a tie.
    """
    accuracy = {}
    for strength in PROBE_STRENGTHS:
        fit_linear_probe(model, embeddings, labels, C=strength)
        with torch.no_grad():
            predicted = model.classifier(dev_embeddings).argmax(dim=1).numpy()
        accuracy[strength] = float(np.mean(predicted == np.asarray(dev_labels)))
    best = max(PROBE_STRENGTHS, key=lambda strength: (accuracy[strength], -strength))
    fit_linear_probe(model, embeddings, labels, C=best)
    return best


def _rows_of_texts(
    model: MeanPooledClassifier, batches: TokenizedBatches, read: Callable[..., Tensor]
) -> Float[Tensor, "texts width"]:
    device = model.classifier.weight.device
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            rows = [read(**{name: value.to(device) for name, value in batch.items()}) for batch in batches]
    finally:
        # train() would switch the parts that the caller had put in evaluation mode by themselves.
        for module, training in modes.items():
            module.training = training
    return batches.restore(torch.cat(rows).float().cpu())
