"""Distillation on the preserved text: its embeddings are held where those of the start are."""

import itertools
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from paramgraph._checks import known_choice, non_negative
from spectral_opt.study import Method, Training


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


def _prepare(training: Training) -> None:
    options, setting = training.options, training.needed_setting()
    weight = non_negative("weight", options["weight"])
    kind = options["distance"]
    known_choice("distance", kind, ("cosine", "squared"))
    batches = setting.calibration["preserve"]
    # The start is in evaluation mode. Each run embeds for itself, so that its time is counted.
    with torch.no_grad():
        targets = [setting.start.embed(**batch).float() for batch in batches]
    pairs = itertools.cycle(zip(batches, targets, strict=True))

    def loss(model: nn.Module) -> Tensor:
        batch, target = next(pairs)
        distance = _distance(
            model(**batch).embeddings.float(), target, "cosine" if kind == "cosine" else "squared"
        )
        return weight * distance

    training.extra_losses.append(loss)


METHOD = Method(
    name="distillation",
    title="distillation",
    description="Each step adds the distance of a batch of preserved text's embeddings from those of the start.",
    prepare=_prepare,
    options={"weight": 3.0, "distance": "cosine"},
    paper="arXiv 1606.09282 (learning without forgetting), on embeddings",
)
