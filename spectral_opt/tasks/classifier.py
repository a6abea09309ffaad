"""A classifier on mean-pooled token states, the baseline that a fine-tuning method has to beat."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers.utils import ModelOutput

from paramgraph.nodes import unwrap, weighted_layers
from spectral_opt.config import SpectralConfig
from spectral_opt.errors import DataError

# BERT's pooler runs in every forward pass, and nothing on mean-pooled states ever reaches it: it has no gradient.
UNUSED_BY_MEAN_POOLING = r".*\bpooler\b.*"


def unused_by_mean_pooling(model: nn.Module) -> str | None:
    """Give the rule for `exclude` of what mean pooling never reaches; None without a pooler: a rule must match."""
    has_pooler = any(re.fullmatch(UNUSED_BY_MEAN_POOLING, name) for name in weighted_layers(unwrap(model)))
    return UNUSED_BY_MEAN_POOLING if has_pooler else None


def for_pooling(config: SpectralConfig, model: nn.Module) -> SpectralConfig:
    """Return a config that excludes the pooler of any encoder as this model needs it."""
    if config.exclude != UNUSED_BY_MEAN_POOLING:
        return config
    return replace(config, exclude=unused_by_mean_pooling(model))


@dataclass
class MeanPooledOutput(ModelOutput):  # type: ignore[misc]
    """Hold what a forward pass of `MeanPooledClassifier` returns.

    Parameters
    ----------
    loss : Tensor of shape () or None
        Mean cross-entropy in nats; None without labels.
    logits : Tensor of shape (texts, classes)
        Unnormalised scores.
    embeddings : Tensor of shape (texts, width)
        Mean-pooled token states.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    embeddings: Tensor | None = None


class MeanPooledClassifier(nn.Module):
    r"""Classify texts by a linear head on the mean of their token states.

    .. math:: e = \frac{\sum_t m_t h_t}{\max(1, \sum_t m_t)}, \qquad \text{logits} = W e + b

    with hidden states :math:`h_t` of the last layer and attention mask :math:`m_t`. The sum runs in float32
    for encoders in half precision. The encoder's own pooler, where it has one, is not used and gets no
    gradient.

    Parameters
    ----------
    encoder : Module
        A bare model of `AutoModel`; it is held, not copied, so training changes it.
    num_labels : int
        Number of classes, at least 2.
    seed : int, default 0
        For the head's start, normal with standard deviation 0.02; `fit_linear_probe` replaces it.

    Attributes
    ----------
    encoder : Module
        The encoder as given.
    classifier : Linear
        The head, of the dtype of the encoder: a fresh output head, to be left out of parameter graphs.
    config : PretrainedConfig
        The encoder's configuration.

    Raises
    ------
    ValueError
        If `num_labels` is below 2, or the encoder's configuration names no hidden size.

    References
    ----------
    .. [1] N. Reimers and I. Gurevych, "Sentence-BERT", EMNLP 2019.
    .. [2] A. Kumar et al., "Fine-tuning can distort pretrained features and underperform out-of-
       distribution", ICLR 2022: why the head starts from a linear probe.

    Examples
    --------
    >>> from transformers import BertConfig, BertModel
    >>> encoder = BertModel(BertConfig(vocab_size=20, hidden_size=8, num_hidden_layers=1,
    ...                                num_attention_heads=2, intermediate_size=16))
    >>> model = MeanPooledClassifier(encoder, num_labels=2)
    >>> output = model(input_ids=torch.ones(3, 4, dtype=torch.long), labels=torch.tensor([0, 1, 0]))
    >>> output.logits.shape, output.embeddings.shape
    (torch.Size([3, 2]), torch.Size([3, 8]))
    """

    def __init__(self, encoder: nn.Module, num_labels: int, *, seed: int = 0) -> None:
        super().__init__()
        config: Any = getattr(encoder, "config", None)
        width = getattr(config, "hidden_size", None)
        if num_labels < 2:
            raise ValueError(f"num_labels is {num_labels}: a classifier needs at least 2 classes")
        if width is None:
            raise ValueError(
                f"{type(encoder).__name__} has no config.hidden_size: give a bare model of AutoModel"
            )
        self.encoder = encoder
        reference = next(encoder.parameters())
        # On "meta" first: the usual start of a Linear would draw from the global generator.
        head = nn.Linear(width, num_labels, device="meta", dtype=reference.dtype)
        self.classifier = head.to_empty(device=reference.device)
        start = torch.randn(num_labels, width, generator=torch.Generator().manual_seed(seed), device="cpu")
        with torch.no_grad():
            self.classifier.weight.copy_(0.02 * start)
            self.classifier.bias.zero_()

    @property
    def config(self) -> Any:
        """The encoder's configuration."""
        return self.encoder.config

    def embed(
        self,
        input_ids: Int[Tensor, "texts tokens"],
        attention_mask: Int[Tensor, "texts tokens"] | None = None,
        labels: Int[Tensor, " texts"] | None = None,
        **inputs: Any,
    ) -> Float[Tensor, "texts width"]:
        """Return the mean-pooled states of a batch, differentiable.

        Parameters
        ----------
        input_ids : Tensor of shape (texts, tokens)
            Token numbers, padded.
        attention_mask : Tensor of shape (texts, tokens) or None, default None
            1 on tokens, 0 on padding; None: no padding.
        labels : Tensor of shape (texts,) or None, default None
            Ignored, so that a batch can be passed whole.
        **inputs
            Passed on to the encoder, such as `token_type_ids`.

        Returns
        -------
        Tensor of shape (texts, width)
            Of the dtype of the encoder.
        """
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        states: Tensor = self.encoder(
            input_ids=input_ids, attention_mask=attention_mask, **inputs
        ).last_hidden_state
        mask = attention_mask.unsqueeze(-1).float()  # (texts, tokens, 1)
        total = (states.float() * mask).sum(dim=1)
        # A text without a single token has the embedding zero, not 0 / 0.
        mean: Tensor = total / mask.sum(dim=1).clamp(min=1.0)
        return mean.to(states.dtype)

    def forward(
        self,
        input_ids: Int[Tensor, "texts tokens"],
        attention_mask: Int[Tensor, "texts tokens"] | None = None,
        labels: Int[Tensor, " texts"] | None = None,
        **inputs: Any,
    ) -> MeanPooledOutput:
        """Return logits and embeddings of a batch, and the loss where labels are given.

        Parameters
        ----------
        input_ids, attention_mask : Tensor of shape (texts, tokens)
            As for `embed`.
        labels : Tensor of shape (texts,) or None, default None
            Class numbers, 0 to `num_labels` - 1.
        **inputs
            Passed on to the encoder.

        Returns
        -------
        MeanPooledOutput
            Loss (or None), logits and embeddings.
        """
        embeddings = self.embed(input_ids, attention_mask, **inputs)
        logits = self.classifier(embeddings)
        loss = None if labels is None else nn.functional.cross_entropy(logits.float(), labels)
        return MeanPooledOutput(loss=loss, logits=logits, embeddings=embeddings)


class PooledEncoder(nn.Module):
    """Compute what a `MeanPooledClassifier` computes, with the encoder's own modules under their own names.

    In the classifier every layer is "encoder." and its name; what is measured here and what is read from the
    files of the encoder, or of another checkpoint of it, are found under one name. The head is `classifier`.

    Parameters
    ----------
    inner : MeanPooledClassifier
        It is held, not copied.

    Examples
    --------
    >>> import torch
    >>> from transformers import BertConfig, BertModel
    >>> encoder = BertModel(BertConfig(vocab_size=20, hidden_size=8, num_hidden_layers=1,
    ...                                num_attention_heads=2, intermediate_size=16))
    >>> model = PooledEncoder(MeanPooledClassifier(encoder, num_labels=2))
    >>> sorted(dict(model.named_parameters()).keys() - dict(encoder.named_parameters()).keys())
    ['classifier.bias', 'classifier.weight']
    """

    def __init__(self, inner: MeanPooledClassifier) -> None:
        super().__init__()
        # In a tuple: as an attribute it would be a module of this one, with all names a second time.
        self._inner = (inner,)
        for name, child in inner.encoder.named_children():
            self.add_module(name, child)
        for name, parameter in inner.encoder.named_parameters(recurse=False):
            self.register_parameter(name, parameter)
        self.classifier = inner.classifier
        self.train(inner.training)

    @property
    def config(self) -> Any:
        """The encoder's configuration."""
        return self._inner[0].config

    def forward(self, **batch: Any) -> MeanPooledOutput:
        """Return logits, embeddings and, with labels, the loss.

        Parameters
        ----------
        **batch
            As for `MeanPooledClassifier`.

        Returns
        -------
        MeanPooledOutput
            That of the classifier.
        """
        output: MeanPooledOutput = self._inner[0](**batch)
        return output


def match_classes(model: Any, names: Sequence[str]) -> tuple[list[int], list[str]]:
    """Find the model's class of each class of the data: by name, by number, or by order, which is said.

    Parameters
    ----------
    model : PreTrainedModel
        A classifier, with `label2id` and `num_labels` in its configuration.
    names : sequence of str
        Classes of the data.

    Returns
    -------
    list of int
        The model's class of each.
    list of str
        What a reader of results must know.

    Raises
    ------
    DataError
        If the classes differ in name and number.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> config = SimpleNamespace(label2id={"Negative": 0, "Positive": 1}, num_labels=2)
    >>> match_classes(SimpleNamespace(config=config), ("positive", "negative"))
    ([1, 0], [])
    """
    known = {str(name).lower(): int(number) for name, number in (model.config.label2id or {}).items()}
    size = int(model.config.num_labels)
    if all(name.lower() in known for name in names):
        return [known[name.lower()] for name in names], []
    if all(name.isdigit() and int(name) < size for name in names):
        return [int(name) for name in names], []
    if len(names) != size:
        raise DataError(f"the data have the classes {', '.join(names)}, and the model has {size} others")
    return list(range(size)), [f"classes of data and model matched by order: {', '.join(names)}"]
