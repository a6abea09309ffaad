"""How much each single weight matters to what a model makes of some texts."""

from typing import Any, cast

import torch
from torch import Tensor, nn

from paramgraph.sources import Batches, Objective, draws, evaluation, take_texts, texts_of


def diagonal_fisher(
    model: nn.Module, batches: Batches, *, objective: Objective = "representation", seed: int = 0
) -> dict[str, Tensor]:
    r"""Return the mean squared gradient of each trainable parameter, by name and of its shape, in float32.

    .. math:: F_i = \mathbb{E} \left( \partial \rho / \partial \theta_i \right)^2

    over texts and draws of :math:`\rho`, the objective of `output_gradients`, with the same draws under a seed. Texts
    run one by one, in evaluation mode; nothing of the model changes. What rho does not depend on is zero. No trainable
    parameter, no batch, a batch without a row per text or a gradient that is not finite raise ValueError. Time of one
    forward and one backward pass per draw for each text, two draws for a representation.
    """
    trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
    if not trained:
        raise ValueError("the model has no trainable parameter: a Fisher matrix has no entry")
    sums = {name: torch.zeros_like(value, dtype=torch.float32) for name, value in trained.items()}
    generator, count = torch.Generator(device="cpu").manual_seed(seed), 0
    with evaluation(model), torch.enable_grad():
        for batch in batches:
            texts = texts_of(model, batch)
            if texts is None:
                raise ValueError(
                    f"a {type(batch).__name__} has no tensor with a row per text: give batches as the model takes them"
                )
            for text in range(texts):
                values = draws(model, take_texts(batch, [text], texts), objective, generator)
                for draw, value in enumerate(values):
                    gradients = torch.autograd.grad(
                        value.sum(),
                        list(trained.values()),
                        retain_graph=draw + 1 < len(values),
                        allow_unused=True,
                    )
                    # Unused ones are None, which PyTorch's annotation does not tell.
                    for total, gradient in zip(sums.values(), cast(tuple[Any, ...], gradients), strict=True):
                        if gradient is not None:
                            total += gradient.float().square()
                    count += 1
    if not count:
        raise ValueError("there are no batches to measure a Fisher matrix on: give at least one text")
    for name, total in sums.items():
        if not torch.isfinite(total).all():
            raise ValueError(f"the gradient of {name} is not finite: a diverged model, or a broken text")
        total /= count
    return sums
