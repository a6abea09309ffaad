"""EWC (arXiv 1612.00796): a quadratic penalty, stronger on the weights that the preserved text depends on."""

import torch
from torch import Tensor, nn

from paramgraph._checks import known_choice, non_negative
from paramgraph.sources import usual_objective
from spectral_opt.study import Method, Options, Training, Value, diagonal_fisher


def _read(options: Options) -> tuple[float, Value]:
    known_choice("objective", options["objective"], (None, "representation", "labels"))
    return non_negative("strength", options["strength"]), options["objective"]


def _prepare(training: Training) -> None:
    setting = training.needed_setting()
    strength, asked = _read(training.options)
    objective = asked or usual_objective(setting.start)

    def measured() -> dict[str, Tensor]:
        return diagonal_fisher(
            setting.start,
            setting.calibration["preserve"],
            objective="labels" if objective == "labels" else "representation",
            seed=setting.seed,
        )

    importance = setting.once(("diagonal_fisher", objective), measured)
    # In units of its mean, as the product graph's energies are: one scale of strengths for every model and text.
    total = sum(float(value.double().sum()) for value in importance.values())
    if total == 0:
        raise ValueError(
            f"no trainable weight matters to the {objective} of the preserved text: EWC holds nothing"
        )
    mean = total / sum(value.numel() for value in importance.values())
    base = {
        name: (value.detach().clone(), importance[name] / mean)
        for name, value in training.model.named_parameters()
        if value.requires_grad and importance[name].any()
    }

    def loss(model: nn.Module) -> Tensor:
        r"""Return strength / 2 sum_i F_i / F-bar (theta_i - theta_0i)^2."""
        of_model = dict(model.named_parameters())
        parts = [(f * (of_model[name] - start).square()).sum() for name, (start, f) in base.items()]
        return strength / 2 * torch.stack(parts).sum()

    training.extra_losses.append(loss)


METHOD = Method(
    name="ewc",
    title="EWC",
    description="Each step adds a quadratic penalty with the diagonal Fisher matrix of the preserved text.",
    check=_read,
    prepare=_prepare,
    # None: what is usual for the model.
    options={"strength": 1.0, "objective": None},
    paper="arXiv 1612.00796",
)
