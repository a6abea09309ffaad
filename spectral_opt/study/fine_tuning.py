"""One fine-tuning run: a method on a copy of a model, step by step, the same for every method."""

import copy
import functools
import itertools
import math
import time
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from paramgraph.nodes import NodeTable
from paramgraph.sources import collect
from spectral_opt.config import SpectralConfig
from spectral_opt.errors import TrainingDivergedError
from spectral_opt.hooks import attach
from spectral_opt.preparation import (
    UNREACHED,
    PreparedTable,
    is_unreached,
    make_filter,
    match_tables,
    prepare,
    source_of,
)
from spectral_opt.study.device import own_randomness
from spectral_opt.study.method import Method, Options, Training, check_installed, chosen_options
from spectral_opt.study.setting import StudySetting
from spectral_opt.tasks import for_pooling

# Of every run of a study.
WEIGHT_DECAY, WARMUP = 0.01, 0.1
# Fields of a config that say what is done with its graphs, and not which they are.
NO_USE: dict[str, Any] = {
    "response": "tikhonov",
    "response_options": {},
    "placement": None,
    "filter_method": "auto",
    "norm_matching": False,
    "penalty": 1.0,
    "penalty_mode": "decoupled",
    "penalty_on": "delta",
    "penalty_every": 1,
    "ridge": 0.0,
}


@dataclass(frozen=True)
class FineTuned:
    """The tuned copy in evaluation mode, the task loss before each step, and the seconds it took.

    `looks` has what was measured on the way, each with its "dev_step" and the seconds of the process in training until
    then; `is_mergeable` says that the change is in the weights of the start's own names. `preparing` are seconds of the
    process before the first step, of graphs and of what else the method measures. `left_alone` has the tables of
    `prepared` that have no graph to act by, each with its reason.
    """

    model: nn.Module
    losses: tuple[float, ...]
    seconds: float
    looks: tuple[dict[str, float], ...] = ()
    is_mergeable: bool = True
    preparing: float = 0.0
    left_alone: Mapping[str, str] = field(default_factory=dict)


def prepare_method(
    model: nn.Module,
    method: Method,
    calibration: Mapping[str, Sequence[Mapping[str, Tensor]]],
    known: MutableMapping[object, Any] | None = None,  # Any: features, or tables
    options: Options | None = None,
    seed: int | None = None,
) -> tuple[tuple[PreparedTable, ...], ...]:
    """Build the graphs and filters of a method, with its options, once for all its runs from the same start.

    `calibration` has the text that graphs are built from, under "task" and "preserve". `known` keeps the features that
    methods have collected from the same start and text, and measured modes of entries; what is new is added. A `seed`
    takes the place of the configurations' own. There is one tuple of tables for each configuration, and none for
    a plain optimizer.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    known = {} if known is None else known
    prepared = []
    for config in configs_of(method, options or {}, seed):
        config = for_pooling(config, model)
        if config.builder is not None and config.scheme != "entries":
            source, options = source_of(model, config, config.scheme)
            key = _key_of(model, config)
            if key not in known:
                tables, _ = match_tables(model, config, trained)
                chosen = calibration.get(config.batches)
                failed: dict[str, str] = {}
                told = failed.__setitem__
                features = collect(model, tables, source, batches=chosen, options=options, on_failure=told)
                failed |= {group: UNREACHED for group, one in features.items() if is_unreached(source, one)}
                known[key] = features, failed
            config = replace(
                config, source=functools.partial(_known_features, *known[key]), source_options={}
            )
        elif config.energy is not None and not config.runs_in_basis:
            prepared.append(_on_known_modes(model, config, calibration, trained, known))
            continue
        prepared.append(prepare(model, config, calibration, parameters=trained))
    return tuple(prepared)


def kept_for(
    model: nn.Module, method: Method, options: Options | None = None, seed: int | None = None
) -> set[object]:
    """Name what `prepare_method` finds in its `known`, or adds to it, for a method with these options."""
    configs = (for_pooling(config, model) for config in configs_of(method, options or {}, seed))
    return {key for config in configs if (key := _key_of(model, config)) is not None}


def _key_of(model: nn.Module, config: SpectralConfig) -> object:
    if config.builder is not None and config.scheme != "entries":
        source, options = source_of(model, config, config.scheme)
        return config.scheme, source, str(options), config.batches, config.targets, config.exclude
    return repr(replace(config, **NO_USE)) if config.energy is not None and not config.runs_in_basis else None


def _known_features(
    features: Mapping[str, Tensor],
    failed: Mapping[str, str],
    _model: nn.Module,
    table: NodeTable,
    _batches: object,
) -> Tensor:
    if table.group in failed:
        raise ValueError(failed[table.group])  # leaves the table alone, by this reason
    return features[table.group]


def _on_known_modes(
    model: nn.Module,
    config: SpectralConfig,
    calibration: Mapping[str, Sequence[Mapping[str, Tensor]]],
    trained: Sequence[nn.Parameter],
    known: MutableMapping[object, Any],
) -> tuple[PreparedTable, ...]:
    """Measure modes of entries, several passes and all bases, once for all that is done with them; the filter anew."""
    key = _key_of(model, config)
    if key not in known:
        known[key] = prepare(model, replace(config, **NO_USE), calibration, parameters=trained)
    tables: tuple[PreparedTable, ...] = known[key]
    return tuple(_filtered(table, config) for table in tables)


def _filtered(table: PreparedTable, config: SpectralConfig) -> PreparedTable:
    if table.operator is None or not config.has_filter:
        return table
    made = make_filter(table.operator, config)
    return replace(table, filter=made, reason=f"{made.method}: {made.reason}")


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
    options: Options | None = None,
    setting: StudySetting | None = None,
    warmup: float = 0.0,
    look: Callable[[nn.Module], dict[str, float]] | None = None,
    look_every: int = 0,
) -> FineTuned:
    """Fine-tune a copy of `model` with AdamW and the configurations of `method`, one step a batch.

    Batches, learning-rate schedule (linear to zero, after a linear rise over the share `warmup` of the steps) and
    dropout, which `seed` decides, depend on the arguments alone, so two methods under one seed differ in nothing but
    themselves. Frozen parameters stay frozen; the global random state is left as it was. `model(**batch).loss` is the
    task loss; where it is NaN or infinite, or a weight is after the last step, TrainingDivergedError names the step.
    `prepared` comes from `prepare_method`; `on_step` is called after each step, for a progress bar. `options` are the
    method's own; what it changes in the run, by its `prepare`, may need a `setting`. `look` measures the model every
    `look_every` steps and after the last one; its time does not count.
    """
    check_installed(method)
    started = time.perf_counter()
    chosen = chosen_options(options or {}, method)
    drawn = None if setting is None else setting.seed
    training = Training(
        copy.deepcopy(model), setting, chosen, learning_rate, weight_decay, configs_of(method, chosen, drawn)
    )
    preparing = time.process_time()
    if method.prepare is not None:
        method.prepare(training)
    tuned = training.model
    trainable = [parameter for parameter in tuned.parameters() if parameter.requires_grad]
    optimizer = training.make_optimizer(trainable, learning_rate, weight_decay)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, _schedule(len(batches), warmup))
    configs = [for_pooling(config, tuned) for config in training.configs]
    calibration = (
        None if setting is None else {name: list(found) for name, found in setting.calibration.items()}
    )
    handle = (
        attach(tuned, optimizer, configs, batches=calibration, prepared=training.prepared or prepared or None)
        if configs
        else None
    )
    ready = itertools.chain.from_iterable(training.prepared or prepared)
    left_alone = {one.table.group: one.reason for one in ready if one.left_alone}
    losses, looks = [], []
    tuned.train()
    began, looking = time.process_time(), 0.0
    device = next(tuned.parameters()).device
    with own_randomness(device):
        torch.manual_seed(seed)
        for step, batch in enumerate(batches, start=1):
            loss = tuned(**batch).loss
            losses.append(loss.item())
            if not math.isfinite(losses[-1]):
                raise _diverged(
                    method, learning_rate, f"the loss is {losses[-1]} at step {step} of {len(batches)}"
                )
            (loss + _extra_loss(training)).backward()
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
            if on_step is not None:
                on_step()
            is_looked_at = (
                look is not None and look_every and (step % look_every == 0 or step == len(batches))
            )
            # The loss of the next step would tell, but here is something that looks before it.
            if (is_looked_at or step == len(batches)) and not _is_finite(trainable):
                raise _diverged(
                    method, learning_rate, f"a weight is not finite after step {step} of {len(batches)}"
                )
            if look is not None and is_looked_at:
                gone = time.process_time()
                # Dropout goes on where it was, whatever is drawn while looking.
                with own_randomness(device):
                    looks.append({"dev_step": step, "dev_cpu_seconds": gone - began - looking} | look(tuned))
                looking += time.process_time() - gone
    if handle is not None:
        handle.remove()
    tuned = training.finish(tuned)
    tuned.eval()
    return FineTuned(
        tuned,
        tuple(losses),
        time.perf_counter() - started,
        tuple(looks),
        training.is_mergeable,
        began - preparing,
        left_alone,
    )


def configs_of(method: Method, options: Options, seed: int | None = None) -> tuple[SpectralConfig, ...]:
    """Give the configurations that a method attaches under options, its nulls drawn from `seed` where one is given."""
    configs = method.configs
    if method.configure is not None:
        configs = tuple(method.configure(chosen_options(options, method)))
    return configs if seed is None else tuple(replace(config, seed=seed) for config in configs)


def _diverged(method: Method, learning_rate: float, what: str) -> TrainingDivergedError:
    return TrainingDivergedError(
        f"{method.title} at learning rate {learning_rate:g}: {what}; try a smaller learning rate"
    )


def _is_finite(parameters: Iterable[Tensor]) -> bool:
    return all(bool(torch.isfinite(parameter).all()) for parameter in parameters)


def _schedule(steps: int, warmup: float) -> Callable[[int], float]:
    """Give the share of the learning rate by step: a linear rise, then a linear fall to zero after the last step."""
    rise = round(warmup * steps)

    def share(step: int) -> float:
        return (step + 1) / (rise + 1) if step < rise else (steps - step) / max(steps - rise, 1)

    return share


def _extra_loss(training: Training) -> Tensor | float:
    """Add up what the method adds to the task's loss, without moving the task's own stream of dropout."""
    if not training.extra_losses:
        return 0.0
    with own_randomness(next(training.model.parameters()).device):
        return sum((extra(training.model) for extra in training.extra_losses), torch.zeros(()))
