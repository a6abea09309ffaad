"""A classifier on mean-pooled token states, the baseline that a fine-tuning method has to beat."""

import re
from collections.abc import Mapping, Sequence
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
    """What a forward pass returns: mean cross-entropy in nats (None without labels), logits, and embeddings."""

    loss: Tensor | None = None
    logits: Tensor | None = None
    embeddings: Tensor | None = None


class MeanPooledClassifier(nn.Module):
    r"""Classify texts by a linear head on the mean of their token states.

    .. math:: e = \frac{\sum_t m_t h_t}{\max(1, \sum_t m_t)}, \qquad \text{logits} = W e + b

    with hidden states :math:`h_t` of the last layer of `encoder`, a bare model of `AutoModel` that is held,
    not copied, and attention mask :math:`m_t`. The sum runs in float32 for encoders in half precision. The
    encoder's own pooler, where it has one, is not used and gets no gradient. The head `classifier` starts
    from normal numbers of standard deviation 0.02, drawn from `seed`; `fit_linear_probe` replaces it, since
    fine-tuning from a random head distorts features [2]_. Fewer than 2 labels, or an encoder without
    `config.hidden_size`, raise ValueError.

    References
    ----------
    .. [1] N. Reimers and I. Gurevych, "Sentence-BERT", EMNLP 2019.
    .. [2] A. Kumar et al., "Fine-tuning can distort pretrained features and underperform out-of-
       distribution", ICLR 2022.

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
    def config(self) -> Any:  # of transformers, whose configurations have what fields they like
        """The encoder's configuration."""
        return self.encoder.config

    def embed(
        self,
        input_ids: Int[Tensor, "texts tokens"],
        attention_mask: Int[Tensor, "texts tokens"] | None = None,
        labels: Int[Tensor, " texts"] | None = None,
        **inputs: Any,
    ) -> Float[Tensor, "texts width"]:
        """Return the mean-pooled states of a batch, differentiable, of the dtype of the encoder.

        Without a mask every token counts. Labels are ignored, so that a batch can be passed whole; other
        inputs, such as `token_type_ids`, go to the encoder.
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
        """Return logits and embeddings of a batch, and the loss where labels are given."""
        embeddings = self.embed(input_ids, attention_mask, **inputs)
        logits = self.classifier(embeddings)
        loss = None if labels is None else nn.functional.cross_entropy(logits.float(), labels)
        return MeanPooledOutput(loss=loss, logits=logits, embeddings=embeddings)


def freeze_embeddings(encoder: nn.Module) -> None:
    """Freeze the table of tokens, what stands beside it in a module "embeddings", and what reads tokens out, in place.

    In few-shot fine-tuning most of its rows get no gradient, and moving the rest hurts.
    """
    module: Any = encoder  # of transformers, which has either
    read_out = module.get_output_embeddings()
    tables = [getattr(module, "embeddings", module.get_input_embeddings())]
    for table in tables if read_out is None else [*tables, read_out]:
        for parameter in table.parameters():
            parameter.requires_grad_(False)


class PooledEncoder(nn.Module):
    """Compute what a `MeanPooledClassifier` computes, with the encoder's own modules under their own names.

    In the classifier every layer is "encoder." and its name; what is measured here and what is read from the
    files of the encoder, or of another checkpoint of it, are found under one name. The head is `classifier`.
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
        """Return what the classifier returns on the batch."""
        output: MeanPooledOutput = self._inner[0](**batch)
        return output


def match_classes(model: nn.Module, names: Sequence[str]) -> tuple[list[int], list[str]]:
    """Find the model's class of each class of the data, and what a reader of results must know of the match.

    They are matched by name, by number, or else by order; which goes with which is said, unless the names are the
    same. Classes that differ in name and in number, two that would be one of the model's, or an order that names
    contradict, raise DataError.
    """
    config: Any = model.config  # of transformers, whose configurations have what fields they like
    size = int(config.num_labels)
    own = _class_names(config)
    exact = {name: number for number, name in own.items()}
    # Case counts only where the model has two names that differ in it alone.
    known = {name.casefold(): number for number, name in own.items()}
    by_name = [exact.get(name, known.get(name.casefold())) for name in names]
    by_number = [int(name) if name.isdecimal() and int(name) < size else None for name in names]
    for way, found in (("name", by_name), ("number", by_number)):
        classes = [number for number in found if number is not None]
        if len(classes) < len(names):
            continue
        if len(set(classes)) < len(classes):
            raise DataError(
                f"the data have the classes {', '.join(names)}, and by {way} two of them are one class of the model: "
                "write each class in one way"
            )
        # That "0" is LABEL_0 needs no word.
        said = way == "number" and any(own.get(number) != f"LABEL_{number}" for number in classes)
        return classes, [_matched(way, names, classes, own)] if said else []
    if len(names) != size:
        raise DataError(f"the data have the classes {', '.join(names)}, and the model has {size} others")
    if any(number not in (None, place) for place, number in enumerate(by_name)):
        raise DataError(
            f"the data have the classes {', '.join(names)}, and the model {', '.join(exact)}: some are the same, in "
            "another order; write the classes of the data as the model does"
        )
    return list(range(size)), [_matched("order", names, range(size), own)]


def _class_names(config: Any) -> dict[int, str]:
    """Read a model's names of its classes from either of two fields: transformers 5 may fill only one of them."""
    stated = {int(number): str(name) for number, name in (getattr(config, "id2label", None) or {}).items()}
    turned = {int(number): str(name) for name, number in (getattr(config, "label2id", None) or {}).items()}
    own = {number for number, name in stated.items() if name != f"LABEL_{number}"}
    if any(turned.get(number, stated[number]) not in (stated[number], f"LABEL_{number}") for number in own):
        raise DataError(f"the model's id2label {stated} and label2id {turned} name its classes in two ways")
    return {**stated, **turned, **{number: stated[number] for number in own}}


def _matched(way: str, names: Sequence[str], classes: Sequence[int], own: Mapping[int, str]) -> str:
    pairs = (f"{name} is {own.get(number, number)}" for name, number in zip(names, classes, strict=True))
    return f"classes of data and model matched by {way}: {', '.join(pairs)}"
