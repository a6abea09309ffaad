"""Refining a finished fine-tune: accuracy against retention, for the column filter, its nulls and plain scaling."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from paramgraph.filters import get_response
from paramgraph.spectra import Null
from spectral_opt.config import SpectralConfig
from spectral_opt.refinement import Refiner
from spectral_opt.tasks import UNUSED_BY_MEAN_POOLING, for_pooling

# Delta (I + gamma C)^-1, C the Gram matrix of inputs on preserved text; gamma is set when it is applied.
COLUMNS = SpectralConfig.preserve(1.0, graph="columns", exclude=UNUSED_BY_MEAN_POOLING, filter_method="exact")


@dataclass(frozen=True)
class Family:
    """A way to shrink a delta, with the strengths to try in the order of the curve.

    The strength is the filter's gamma; without a configuration it multiplies the delta (WiSE-FT). A null has the
    spectrum of the graph and none of its directions.
    """

    name: str
    config: SpectralConfig | None
    strengths: tuple[float, ...]
    null: Null | None = None

    @property
    def is_null(self) -> bool:
        """Whether it is a control."""
        return self.null is not None


FAMILIES = (
    Family("column graph of preserved text", COLUMNS, (0.03, 0.1, 0.3)),
    Family("null: columns permuted", COLUMNS, (0.3, 1.0), "permuted"),
    Family("null: rotated, same spectrum", COLUMNS, (0.3, 1.0), "rotated"),
    Family("scaling the delta (WiSE-FT)", None, (0.8, 0.6, 0.4)),
)


def make_refiner(base: nn.Module, batches: Mapping[str, Sequence[Mapping[str, Tensor]]]) -> Refiner:
    """Measure the graphs of a base once, for all families."""
    return Refiner(base, [for_pooling(COLUMNS, base)], batches=batches)


def refined_states(
    base: nn.Module, tuned: nn.Module, family: Family, refiner: Refiner
) -> Iterator[tuple[float, dict[str, Tensor]]]:
    """Yield each strength of a family with the state that `tuned` loads; eigenvectors of a family are found once."""
    if family.config is None:
        start, end = base.state_dict(), tuned.state_dict()
        for strength in family.strengths:
            yield (
                strength,
                {
                    name: torch.lerp(start[name], end[name], strength)
                    if end[name].is_floating_point()
                    else end[name]
                    for name in end
                },
            )
        return
    chosen = refiner if family.null is None else refiner.null(family.null)
    for strength in family.strengths:
        yield strength, chosen.apply(tuned, responses=[get_response("tikhonov", gamma=strength)])
