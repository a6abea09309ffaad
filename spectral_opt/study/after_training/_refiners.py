"""Refiners of a job's start: graphs of the preserved text are built once, and serve every strength and null."""

from typing import Literal, cast, get_args

from torch import Tensor

from paramgraph import tikhonov
from paramgraph._checks import known_choice
from paramgraph.spectra import Null
from spectral_opt import Refiner, SpectralConfig
from spectral_opt.study import FinishedTune, Options
from spectral_opt.study.after_training._matrices import put_in, tables_of
from spectral_opt.study.after_training._options import strength_of, switch_of
from spectral_opt.tasks import unused_by_mean_pooling

Graph = Literal["product", "columns", "rows"]
Objective = Literal["representation", "labels"]
# What every graph of the preserved text may be asked for beside its strength.
USUAL: Options = {"strength": 1.0, "null": None, "norm_matched": False}


def refined(tune: FinishedTune, graph: Graph, options: Options) -> dict[str, Tensor]:
    """Divide the change by 1 + strength times the eigenvalue, in each mode of the graph or of its null."""
    strength, norm_matched = strength_of(options), switch_of(options, "norm_matched")
    known_choice("null", options["null"], (None, *get_args(Null)))
    null = cast(Null | None, options["null"])  # of the plan: known by now
    state = _refiner(tune, graph, options.get("objective"), null).apply(tune.tuned, [tikhonov(strength)])
    names = (name for table in tables_of(tune.setting).values() for name in table.parameters)
    return put_in(tune, {name: state[name] for name in names}, norm_matched)


def _refiner(tune: FinishedTune, graph: Graph, objective: object, null: Null | None) -> Refiner:
    setting = tune.setting
    if null is not None:
        known = _refiner(tune, graph, objective, None)
        return setting.once(("refiner", graph, objective, null), lambda: known.null(null, seed=setting.seed))

    def build() -> Refiner:
        model = setting.start
        config = SpectralConfig.preserve(
            graph=graph, objective=objective_of(objective), exclude=unused_by_mean_pooling(model)
        )
        return Refiner(model, config, {"preserve": setting.calibration["preserve"]})

    return setting.once(("refiner", graph, objective, None), build)


def objective_of(option: object) -> Objective | None:
    """Read what gradients are of; None lets the graph choose, ValueError for anything else."""
    known_choice("objective", option, (None, "representation", "labels"))
    return cast(Objective | None, option)
