"""One fine-tuning run: a method on a copy of a model, step by step, the same for every method."""

import copy
import math
import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from paramgraph.sources import collect
from spectral_opt.hooks import attach
from spectral_opt.preparation import PreparedTable, match_tables, prepare, source_of
from spectral_opt.study.method import Method
from spectral_opt.tasks import for_pooling


class TrainingDivergedError(ValueError):
    """The loss is not a number; the message names the step."""


@dataclass(frozen=True)
class FineTuned:
    """The tuned copy in evaluation mode, the task loss before each step, and the seconds it took."""

    model: nn.Module
    losses: tuple[float, ...]
    seconds: float


def prepare_method(
    model: nn.Module,
    method: Method,
    calibration: Mapping[str, Sequence[Mapping[str, Tensor]]],
    known: MutableMapping[object, dict[str, Tensor]] | None = None,
) -> tuple[tuple[PreparedTable, ...], ...]:
    """Build the graphs and filters of a method once, for all its runs from the same start.

    `calibration` has the text that graphs are built from, under "task" and "preserve". `known` keeps the
    features that methods have collected from the same start and text, and what is collected here is added.
    There is one tuple of tables for each configuration, and none for a plain optimizer.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    known = {} if known is None else known
    prepared = []
    for config in method.configs:
        config = for_pooling(config, model)
        if config.builder is not None and config.scheme != "entries":
            source, options = source_of(model, config, config.scheme)
            key = (config.scheme, source, str(options), config.batches, config.targets, config.exclude)
            if key not in known:
                tables, _ = match_tables(model, config, trained)
                chosen = calibration.get(config.batches)
                known[key] = collect(model, tables, source, batches=chosen, options=options)
            features = known[key]
            config = replace(
                config,
                source=lambda _model, table, _batches, kept=features: kept[table.group],
                source_options={},
            )
        prepared.append(prepare(model, config, calibration, parameters=trained))
    return tuple(prepared)


def fine_tune(
    model: nn.Module,
    batches: Sequence[Mapping[str, Tensor]],
    method: Method,
    *,
    learning_rate: float,
    weight_decay: float = 0.01,
    seed: int = 0,
    prepared: Sequence[tuple[PreparedTable, ...]] = (),
    on_step: Callable[[], None] | None = None,
) -> FineTuned:
    """Fine-tune a copy of `model` with AdamW and the configurations of `method`, one step a batch.

    Batches, learning-rate schedule (linear to zero) and dropout, which `seed` decides, depend on the
    arguments alone, so two methods under one seed differ in nothing but themselves. Frozen parameters stay
    frozen; the global random state is left as it was. `model(**batch).loss` is the task loss; where it is NaN
    or infinite, TrainingDivergedError names the step. `prepared` comes from `prepare_method`; `on_step` is
    called after each step, for a progress bar.
    """
    started = time.perf_counter()
    tuned = copy.deepcopy(model)
    trainable = [parameter for parameter in tuned.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=learning_rate, weight_decay=weight_decay, fused=True)
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=len(batches))
    configs = [for_pooling(config, tuned) for config in method.configs]
    handle = attach(tuned, optimizer, configs, prepared=prepared) if configs else None
    losses = []
    tuned.train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for step, batch in enumerate(batches, start=1):
            loss = tuned(**batch).loss
            losses.append(loss.item())
            if not math.isfinite(losses[-1]):
                raise TrainingDivergedError(
                    f"{method.title} at learning rate {learning_rate:g}: the loss is {losses[-1]} at step {step} of "
                    f"{len(batches)}; try a smaller learning rate"
                )
            loss.backward()
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
            if on_step is not None:
                on_step()
    if handle is not None:
        handle.remove()
    tuned.eval()
    return FineTuned(tuned, tuple(losses), time.perf_counter() - started)
