"""What one state of a model is worth: how much it forgot of its base, and how well it does its task, text by text."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from paramgraph.sources import body_of, run_batch
from spectral_opt.errors import ModelError
from spectral_opt.study import neighbours_kept
from spectral_opt.sweep._domain import domain_auc, domain_remark
from spectral_opt.sweep._metrics import Kind, Metric, TaskResult, Values, resampled
from spectral_opt.sweep._texts import Part, RefinementTexts
from spectral_opt.tasks import (
    MajorityBaseline,
    MeanPooledClassifier,
    TokenizedBatches,
    embed_texts,
    fit_linear_probe,
    majority_baseline,
    predict_logits,
    tokenize_batches,
)


@dataclass(frozen=True)
class Forgotten:
    """What was lost on held-out preserved text.

    Per text 1 - cosine with the base's embedding, or the loss in nats per token beyond the base's. `lost` is per text
    the share of its 10 nearest neighbours that are gone; None for a language model.
    """

    per_text: Values
    lost: Values | None = None

    @property
    def mean(self) -> float:
        """Over the texts."""
        return float(self.per_text.mean())


class Measures:
    """Measure states of one module: what they forgot, and how well they do the task, text by text."""

    def __init__(
        self,
        module: nn.Module,
        kind: Kind,
        metric: Metric,
        tokenizer: PreTrainedTokenizerBase,
        texts: RefinementTexts,
        max_length: int,
        batch_size: int,
        classes: list[int] | None = None,
    ) -> None:
        self.module, self.kind, self.metric = module, kind, metric
        self._tokenizer, self._size = tokenizer, (max_length, batch_size)
        self._task, self._classes = texts.task, classes
        self.held_out = self._tokenized(texts.held_out)
        self._known: dict[int, TokenizedBatches] = {}
        self._before: Float[np.ndarray, "texts ..."]

    def remember_base(self) -> None:
        """Take the present state as the base, from which forgetting is counted."""
        self._before = self._behaviour()

    def forgotten(self) -> Forgotten:
        """Compare the present state with the base."""
        after = self._behaviour()
        if self.kind == "causal":
            return Forgotten(after - self._before)
        cosine = np.einsum("ij,ij->i", self._before, after) / (
            np.linalg.norm(self._before, axis=1) * np.linalg.norm(after, axis=1)
        )
        # The last bits of an embedding's cosine with itself are not information.
        return Forgotten(np.round(1 - cosine, 7), 1 - neighbours_kept(self._before, after))

    def task(self) -> tuple[TaskResult, TaskResult | None]:
        """Measure the task on the texts that pick and, where there are some, on those that report."""
        assert self._task is not None, "only with task data"
        parts = [self._task.dev] if self._task.test is None else [self._task.dev, self._task.test]
        if self.kind == "causal":
            dev, *test = (TaskResult(*token_losses(self.module, self._batches(part))) for part in parts)
        else:
            # A bare encoder has no head of its own.
            has_probe = self.metric.of_probe or self.kind == "encoder"
            probe = self._probe(len(self._task.label_names)) if has_probe else None
            dev, *test = (self._classified(part, probe) for part in parts)
        return dev, test[0] if test else None

    def domain_remark(self, seed: int) -> str:
        """Say whether the preserved text is of the task's own domain, as the present state, the base, embeds them."""
        if self._task is None:
            return ""
        preserved = self._before if self.kind != "causal" else self._embedded(self.held_out)
        return domain_remark(domain_auc(preserved, self._embedded(self._batches(self._task.dev)), seed))

    def majority(self) -> dict[str, MajorityBaseline]:
        """Score the most frequent class of each part whose accuracy is shown; nothing where none is."""
        if self._task is None or not self._task.label_names or self.metric.name == "loss":
            return {}
        parts = {"dev": self._task.dev, "test": self._task.test}
        return {
            name: majority_baseline(part.labels or [], self._task.label_names)
            for name, part in parts.items()
            if part is not None
        }

    def _classified(self, part: Part, probe: MeanPooledClassifier | None) -> TaskResult:
        labels = np.array(part.labels)
        if probe is not None:
            logits = predict_logits(probe, self._batches(part))
        else:
            logits = _class_logits(self.module, self._batches(part))
            logits = logits[:, self._classes] if self._classes is not None else logits
        _refuse_what_is_not_finite(logits, "logits")  # the largest of them would be class 0
        loss = nn.functional.cross_entropy(logits, torch.from_numpy(labels), reduction="none")
        probabilities = logits.double().softmax(dim=1).numpy()
        return TaskResult(loss.double().numpy(), None, probabilities, labels)

    def _probe(self, classes: int) -> MeanPooledClassifier:
        assert self._task is not None, "only with task data"
        assert self._task.train is not None, "labelled task data have a part to fit on"
        pooled = MeanPooledClassifier(body_of(self.module), classes)
        train = self._task.train
        fit_linear_probe(pooled, embed_texts(pooled, self._batches(train)), train.labels or [])
        return pooled

    def _behaviour(self) -> Float[np.ndarray, "texts ..."]:
        if self.kind == "causal":
            losses, _ = token_losses(self.module, self.held_out)
            _refuse_what_is_not_finite(torch.from_numpy(losses), "losses")
            return losses
        return self._embedded(self.held_out)

    def _embedded(self, batches: TokenizedBatches) -> Float[np.ndarray, "texts width"]:
        embedded = embed_texts(MeanPooledClassifier(body_of(self.module), 2), batches).double()
        _refuse_what_is_not_finite(embedded, "embeddings")
        return embedded.numpy()

    def _batches(self, part: Part) -> TokenizedBatches:
        if id(part) not in self._known:
            self._known[id(part)] = self._tokenized(part.texts)
        return self._known[id(part)]

    def _tokenized(self, texts: list[str]) -> TokenizedBatches:
        length, size = self._size
        return tokenize_batches(self._tokenizer, texts, batch_size=size, max_length=length, order="length")


def _refuse_what_is_not_finite(values: Tensor, name: str) -> None:
    if not torch.isfinite(values).all():
        raise ModelError(
            f"{name} of texts are NaN or infinite: base or tuned diverged, or has damaged weights"
        )


def token_losses(model: nn.Module, batches: TokenizedBatches) -> tuple[Values, Values]:
    """Return the mean loss of the next token of each text, in nats, and their number; texts have two tokens or more."""
    rows, counts = [], []
    with torch.no_grad():
        for batch in batches:
            logits = model(**batch).logits[:, :-1].float()
            mask = batch["attention_mask"][:, 1:] * batch["attention_mask"][:, :-1]
            loss = nn.functional.cross_entropy(
                logits.transpose(1, 2), batch["input_ids"][:, 1:], reduction="none"
            )
            counts.append(mask.sum(dim=1))
            rows.append((loss * mask).sum(dim=1) / counts[-1])
    restored = (batches.restore(torch.cat(one)).double().numpy() for one in (rows, counts))
    losses, tokens = restored
    return losses, tokens


def mean_interval(values: Values, seed: int = 0) -> tuple[float, float, float]:
    """Return the mean over texts and its 95 % bootstrap interval (percentiles).

    .. [1] B. Efron and R. Tibshirani, "An Introduction to the Bootstrap", Chapman and Hall, 1993, chapter 13.

    >>> mean_interval(np.ones(5))
    (1.0, 1.0, 1.0)
    """
    low, high = np.percentile(resampled(len(values), seed) @ values / len(values), [2.5, 97.5])
    return float(values.mean()), float(low), float(high)


def run_body(model: nn.Module, batch: Mapping[str, Tensor]) -> Any:  # Any: whatever the model returns
    """Run the model without its head: the logits of a language model are its largest product, and not needed."""
    return run_batch(body_of(model), batch)


def _class_logits(module: nn.Module, batches: TokenizedBatches) -> Tensor:
    with torch.no_grad():
        rows = [module(**batch).logits for batch in batches]
    return batches.restore(torch.cat(rows).float().cpu())
