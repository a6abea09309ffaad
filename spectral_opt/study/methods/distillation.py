"""Distillation on the preserved text: what the model makes of it is held where it was at the start."""

import itertools
from collections.abc import Callable, Mapping
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from paramgraph._checks import known_choice, non_negative
from spectral_opt.study import CAUSAL_LM, Method, Options, StudySetting, Training, Value


def _distance(
    found: Float[Tensor, "texts width"],
    target: Float[Tensor, "texts width"],
    kind: Literal["cosine", "squared"],
) -> Float[Tensor, ""]:
    r"""Return the mean over texts of 1 - cos(e, e_0), or of |e - e_0|^2 / |e_0|^2: twice that at equal norms."""
    if kind == "cosine":
        return (1 - nn.functional.cosine_similarity(found, target)).mean()
    # The smallest norm is that of cosine_similarity, for a text without a token.
    return ((found - target).square().sum(1) / target.square().sum(1).clamp(min=1e-16)).mean()


def _read(options: Options) -> tuple[float, Value]:
    known_choice("distance", options["distance"], (None, "cosine", "squared", "divergence"))
    return non_negative("weight", options["weight"]), options["distance"]


def _prepare(training: Training) -> None:
    setting = training.needed_setting()
    weight, asked = _read(training.options)
    kind = asked or ("divergence" if setting.task.kind == CAUSAL_LM else "cosine")
    distance = _of_tokens(setting) if kind == "divergence" else _of_embeddings(setting, kind)
    training.extra_losses.append(lambda model: weight * distance(model))


def _of_embeddings(setting: StudySetting, kind: Value) -> Callable[[nn.Module], Tensor]:
    batches = setting.calibration["preserve"]
    # The start is in evaluation mode. Each run embeds for itself, so that its time is counted.
    with torch.no_grad():
        targets = [setting.embed(setting.start, batch).float() for batch in batches]
    pairs = itertools.cycle(zip(batches, targets, strict=True))

    def distance(model: nn.Module) -> Tensor:
        batch, target = next(pairs)
        return _distance(
            setting.embed(model, batch).float(), target, "cosine" if kind == "cosine" else "squared"
        )

    return distance


def _of_tokens(setting: StudySetting) -> Callable[[nn.Module], Tensor]:
    batches = itertools.cycle(setting.calibration["preserve"])

    def distance(model: nn.Module) -> Tensor:
        batch = next(batches)
        # Anew at each step: probabilities of all tokens of all texts over a vocabulary are gigabytes.
        with torch.no_grad():
            target = _log_chances(setting.start, batch)
        return nn.functional.kl_div(
            _log_chances(model, batch), target, reduction="batchmean", log_target=True
        )

    return distance


def _log_chances(model: nn.Module, batch: Mapping[str, Tensor]) -> Float[Tensor, "places classes"]:
    """Run a batch and return log-probabilities: of a text's class, or of the next at each real token."""
    logits: Tensor = model(**{name: value for name, value in batch.items() if name != "labels"}).logits
    real = logits[batch["attention_mask"].bool()] if logits.ndim == 3 else logits
    return real.float().log_softmax(dim=1)


METHOD = Method(
    name="distillation",
    title="distillation",
    description="Each step adds how far a batch of preserved text is from the start: its embeddings, or next tokens.",
    check=_read,
    prepare=_prepare,
    # None: "cosine", and of a language model "divergence", of the next token's distribution.
    options={"weight": 3.0, "distance": None},
    paper="arXiv 1606.09282 (learning without forgetting)",
)
