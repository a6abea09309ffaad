"""Distillation after training: some more steps on the task and towards what the start makes of the preserved text."""

import copy
import itertools

from torch import Tensor

from paramgraph._checks import whole_number
from spectral_opt.study import AfterTraining, FinishedTune, Options, check_values, fine_tune, get_method
from spectral_opt.study.after_training._options import strength_of

DISTILLATION = get_method("distillation")


def _read(options: Options) -> tuple[int, float, Options]:
    own = {name: options[name] for name in DISTILLATION.options}
    check_values(own, DISTILLATION)
    return whole_number("steps", options["steps"], 0), strength_of(options, "learning_rate"), own


def _apply(tune: FinishedTune, options: Options) -> dict[str, Tensor]:
    steps, rate, own = _read(options)
    setting = tune.setting
    model = copy.deepcopy(setting.start)
    model.load_state_dict(tune.tuned)
    for name, parameter in model.named_parameters():
        if setting.anatomy.is_head(name):
            parameter.requires_grad_(False)
    again = list(itertools.islice(itertools.cycle(setting.training), steps))
    done = fine_tune(
        model, again, DISTILLATION, learning_rate=rate, seed=setting.seed, setting=setting, options=own
    )
    return {name: value.detach() for name, value in done.model.state_dict().items()}


AFTER = AfterTraining(
    name="distilled",
    title="distilled after training",
    description="Further steps on training batches that hold the preserved text; a head stays as tuned.",
    apply=_apply,
    check=_read,
    options={"steps": 60, "learning_rate": 1e-4, **DISTILLATION.options},
    paper=DISTILLATION.paper,
)
