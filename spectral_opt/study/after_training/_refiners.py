"""Refiners of a job's start: graphs of the preserved text are built once, and serve every strength and null."""

from typing import Literal

from torch import Tensor

from paramgraph import tikhonov
from paramgraph.spectra import Null
from spectral_opt import Refiner, SpectralConfig
from spectral_opt.study import FinishedTune
from spectral_opt.tasks import unused_by_mean_pooling

PREFIX = "encoder."


def refiner_of(
    tune: FinishedTune, graph: Literal["product", "columns", "rows"], null: Null | None = None
) -> Refiner:
    """Give the refiner of a graph ("product", "columns", "rows") of the preserved text, or its null."""
    setting = tune.setting
    if null is not None:
        made = refiner_of(tune, graph)
        return setting.once(("refiner", graph, null), lambda: made.null(null, seed=setting.seed))

    def build() -> Refiner:
        encoder = setting.start.encoder
        config = SpectralConfig.preserve(graph=graph, exclude=unused_by_mean_pooling(encoder))
        return Refiner(encoder, config, {"preserve": setting.calibration["preserve"]})

    return setting.once(("refiner", graph), build)


def refine_encoder(tune: FinishedTune, refiner: Refiner, strength: float) -> dict[str, Tensor]:
    """Refine the encoder by the Tikhonov response of a strength; the head stays as tuned."""
    encoder = {
        name.removeprefix(PREFIX): value for name, value in tune.tuned.items() if name.startswith(PREFIX)
    }
    refined = refiner.apply(encoder, [tikhonov(strength)])
    return dict(tune.tuned) | {f"{PREFIX}{name}": value for name, value in refined.items()}
