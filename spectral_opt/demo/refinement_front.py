"""Refining a finished fine-tune: accuracy against retention, for the column filter, its nulls and plain scaling."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from paramgraph.filters import get_response
from spectral_opt.config import SpectralConfig
from spectral_opt.refinement import Refiner
from spectral_opt.tasks import UNUSED_BY_MEAN_POOLING, for_pooling


@dataclass(frozen=True)
class Family:
    """A way to shrink a delta, with the strengths to try in the order of the curve.

    The strength is the filter's gamma; without a configuration it multiplies the delta (WiSE-FT).
    """

    name: str
    config: SpectralConfig | None
    strengths: tuple[float, ...]
    is_null: bool = False


def column_filter(null: str | None = None) -> SpectralConfig:
    """Return the filter Delta (I + gamma C)^-1, C the Gram matrix of activations on preserved text.

    The null "permuted" or "rotated" has the spectrum of C and none of its directions. gamma is set when it is
    applied.
    """
    return SpectralConfig(
        builder=null or "gram",
        builder_options={"builder": "gram"} if null else {},
        scheme="columns",
        exclude=UNUSED_BY_MEAN_POOLING,
        source="activations",
        shift="adjacency",
        batches="preserve",
        response="tikhonov",
        response_options={"gamma": 1.0},
        placement="update",
        filter_method="exact",
        penalty=0.0,
    )


FAMILIES = (
    Family("column graph of preserved text", column_filter(), (0.03, 0.1, 0.3)),
    Family("null: columns permuted", column_filter("permuted"), (0.3, 1.0), is_null=True),
    Family("null: rotated, same spectrum", column_filter("rotated"), (0.3, 1.0), is_null=True),
    Family("scaling the delta (WiSE-FT)", None, (0.8, 0.6, 0.4)),
)


def refined_states(
    base: nn.Module,
    tuned: nn.Module,
    family: Family,
    batches: Mapping[str, Sequence[Mapping[str, Tensor]]],
) -> Iterator[tuple[float, dict[str, Tensor]]]:
    """Yield each strength of a family with the state that `tuned` loads; graphs and bases are made once."""
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
    refiner = Refiner(base, [for_pooling(family.config, base)], batches=batches)
    for strength in family.strengths:
        yield strength, refiner.apply(tuned, responses=[get_response("tikhonov", gamma=strength)])
