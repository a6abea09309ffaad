"""The subspace that a layer's inputs on the preserved text lie in, and steps that are kept out of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from paramgraph import NodeTable, eigenpairs, node_tables
from paramgraph._checks import check_number, known_choice
from paramgraph.measures import second_moments
from spectral_opt.functional import put_back
from spectral_opt.study import Options, StudySetting, Training, Value
from spectral_opt.tasks import unused_by_mean_pooling

# The share of the inputs' energy of a layer that its subspace holds, as in the papers; and where the step is filtered:
# Adam after a projected gradient leaves the subspace that plain descent, which the papers use, stays in.
OPTIONS: Options = {"share": 0.97, "placement": "update"}


@dataclass(frozen=True)
class _Modes:
    """Leading modes of the Gram matrix of a layer's inputs: strongest first, singular values of the inputs."""

    table: NodeTable
    vectors: Float[Tensor, "columns modes"]
    singular_values: Float[Tensor, " modes"]


def read_subspace(options: Options) -> tuple[float, Value]:
    """Read the share and where the step is filtered; TypeError or ValueError for anything else."""
    check_number("input subspace", "share", options["share"], 0.0, 1.0)
    known_choice("placement", options["placement"], ("gradient", "update"))
    return float(str(options["share"])), options["placement"]


def keep_out(training: Training, weigh: Callable[[Float[Tensor, " modes"]], Float[Tensor, " modes"]]) -> None:
    r"""Take from each step of a matrix what lies in the input subspace of the preserved text.

    .. math:: G \mapsto G - G M \operatorname{diag}(w) M^T

    with the fewest leading eigenvectors M of the Gram matrix of the inputs that hold the `share` of its trace, and
    weights w of their singular values. What counts is a share of each layer's own spectrum, so that w is no response of
    the eigenvalue alone. Other parameters are trained freely.
    """
    share, placement = read_subspace(training.options)
    setting, make = training.needed_setting(), training.make_optimizer
    all_modes = setting.once("input_modes", lambda: _input_modes(setting))
    modes = [_leading(one, share) for one in all_modes]
    weights = [weigh(one.singular_values) for one in modes]
    named = dict(training.model.named_parameters())

    def kept_out(signal: dict[str, Tensor]) -> dict[str, Tensor]:
        filtered = dict(signal)
        for one, weight in zip(modes, weights, strict=True):
            X = one.table.gather(filtered)  # (columns, width)
            M = one.vectors.to(X)
            filtered |= put_back(filtered, one.table, X, X - M @ (weight.to(X)[:, None] * (M.T @ X)))
        return filtered

    names = list(dict.fromkeys(name for one in modes for name in one.table.parameters))
    before: dict[str, Tensor] = {}

    def before_step(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        if placement == "gradient":
            for name, value in kept_out({name: _gradient(named[name]) for name in names}).items():
                if named[name].grad is not None:
                    named[name].grad = value
        else:
            before.update({name: named[name].detach().clone() for name in names})

    def after_step(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        if placement == "update":
            with torch.no_grad():
                step = {name: named[name] - before[name] for name in names}
                for name, value in kept_out(step).items():
                    named[name].copy_(before[name] + value)

    def hooked(
        parameters: list[nn.Parameter], learning_rate: float, weight_decay: float
    ) -> torch.optim.Optimizer:
        optimizer = make(parameters, learning_rate, weight_decay)
        optimizer.register_step_pre_hook(before_step)
        optimizer.register_step_post_hook(after_step)
        return optimizer

    training.make_optimizer = hooked


def _gradient(parameter: nn.Parameter) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def _input_modes(setting: StudySetting) -> list[_Modes]:
    model = setting.start
    tables = node_tables(model, "columns", exclude=unused_by_mean_pooling(model))
    moments = second_moments(model, tables, "activations", setting.calibration["preserve"])
    found, solved = [], dict[int, _Modes]()
    for group, table in tables.items():
        operator = moments.operator(group)  # one for layers with the same inputs
        if id(operator) not in solved:
            spectrum = eigenpairs(operator, k=operator.shape[0])
            order = spectrum.eigenvalues.argsort(descending=True)
            # Rounding leaves tiny negative ones.
            squares = spectrum.eigenvalues[order].clamp(min=0)
            vectors = spectrum.eigenvectors[:, order].float()
            solved[id(operator)] = _Modes(table, vectors, squares.sqrt().float())
        known = solved[id(operator)]
        found.append(_Modes(table, known.vectors, known.singular_values))
    return found


def _leading(modes: _Modes, share: float) -> _Modes:
    energy = modes.singular_values.double().square().cumsum(0)
    # The first place at which the share is reached is still of the subspace.
    count = int((energy < share * energy[-1]).sum()) + 1
    count = min(count, len(energy))
    return _Modes(modes.table, modes.vectors[:, :count], modes.singular_values[:count])
