"""Refiners of a job's start: graphs of the preserved text are built once, and serve every strength and null."""

from typing import Any, Literal, cast, get_args

from torch import Tensor

from paramgraph import tikhonov
from paramgraph._checks import known_choice
from paramgraph.spectra import Null
from spectral_opt import Refiner, SpectralConfig
from spectral_opt.study import FinishedTune, Options, StudySetting
from spectral_opt.study.after_training._matrices import put_in, tables_of
from spectral_opt.study.after_training._options import OBJECTIVES, strength_of, switch_of
from spectral_opt.tasks import unused_by_mean_pooling

Graph = Literal["product", "columns", "rows"]
# What every graph of the preserved text may be asked for.
USUAL: Options = {"strength": 1.0, "null": None, "norm_matched": False}
CHOICES = {
    "null": (None, *get_args(Null)),
    "objective": OBJECTIVES,
    "energy": (None, "model", "matrix"),
}


def read_usual(options: Options) -> tuple[float, bool]:
    """Read strength and whether norms are matched, and check all words; TypeError or ValueError for anything else."""
    for name, choices in CHOICES.items():
        known_choice(name, options.get(name), choices)
    return strength_of(options), switch_of(options, "norm_matched")


def refined(tune: FinishedTune, graph: Graph, options: Options) -> dict[str, Tensor]:
    """Divide the change by 1 + strength times the eigenvalue, in each mode of the graph or of its null.

    Options beside the usual ones are fields of the preset.
    """
    strength, norm_matched = read_usual(options)
    fields = {name: value for name, value in options.items() if name not in USUAL}
    state = _refiner(tune.setting, graph, fields, options["null"]).apply(tune.tuned, [tikhonov(strength)])
    names = (name for table in tables_of(tune.setting).values() for name in table.parameters)
    return put_in(tune, {name: state[name] for name in names}, norm_matched)


def _refiner(setting: StudySetting, graph: Graph, fields: Options, null: object) -> Refiner:
    key = "refiner", graph, tuple(sorted(fields.items()))
    if null is not None:
        known = _refiner(setting, graph, fields, None)
        kind = cast(Null, null)  # checked
        return setting.once((*key, kind), lambda: known.null(kind, seed=setting.seed))

    def build() -> Refiner:
        model, given = setting.start, dict[str, Any](fields)  # checked
        config = SpectralConfig.preserve(graph=graph, exclude=unused_by_mean_pooling(model), **given)
        return Refiner(model, config, {"preserve": setting.calibration["preserve"]})

    return setting.once(key, build)
