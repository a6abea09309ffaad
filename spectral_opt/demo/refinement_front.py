"""Refining a fine-tune that forgot: accuracy against retention, for graphs, nulls and plain scaling."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from paramgraph.filters import get_response
from paramgraph.spectra import Null
from spectral_opt.config import SpectralConfig
from spectral_opt.refinement import RefinedState, Refiner
from spectral_opt.tasks import unused_by_mean_pooling

HEAD = "classifier."
Graph = Literal["product", "columns"]


@dataclass(frozen=True)
class Family:
    """A way to shrink a delta, with the strengths to try in the order of the curve.

    The strength is the filter's gamma; without a graph it multiplies the delta (WiSE-FT). A null has the
    spectrum of the graph and none of its directions.
    """

    name: str
    graph: Graph | None
    strengths: tuple[float, ...]
    null: Null | None = None

    @property
    def is_null(self) -> bool:
        """Whether it is a control."""
        return self.null is not None


PRODUCT = Family("product graph of preserved text", "product", (0.3, 1.0, 3.0))
SCALING = Family("scaling the delta (WiSE-FT)", None, (0.6, 0.4, 0.3, 0.2))
# A null knows nothing of where the few large energies belong, and takes far larger strengths to change as much.
# Those of one kind of graph stand together: it is built once, and then let go.
FAMILIES = (
    PRODUCT,
    Family("null: product graph, nodes permuted", "product", (10.0, 100.0), "permuted"),
    Family("columns of that text alone", "columns", (0.3, 1.0)),
    SCALING,
)
# The preset's own, so that no strength is chosen by its result.
SHOWN_STRENGTH = 1.0


def preserving(base: nn.Module, graph: Graph) -> SpectralConfig:
    """Give the preset's configuration for a mean-pooled classifier."""
    return SpectralConfig.preserve(graph=graph, exclude=unused_by_mean_pooling(base))


def make_refiner(
    base: nn.Module, graph: Graph, batches: Mapping[str, Sequence[Mapping[str, Tensor]]]
) -> Refiner:
    """Measure the graphs of a base once, for all strengths and nulls; norms and biases are given back to the base."""
    return Refiner(base, preserving(base, graph), batches=batches, rest="base")


def refined(refiner: Refiner, tuned: Mapping[str, Tensor], strength: float) -> RefinedState:
    """Filter the change of the encoder; the head stays as it was tuned."""
    found = refiner.apply(tuned, responses=[get_response("tikhonov", gamma=strength)])
    found.update({name: value for name, value in tuned.items() if name.startswith(HEAD)})
    return found


def scaled(base: Mapping[str, Tensor], tuned: Mapping[str, Tensor], factor: float) -> dict[str, Tensor]:
    """Multiply the change of the encoder; the head stays as it was tuned."""
    return {
        name: value
        if name.startswith(HEAD) or not value.is_floating_point()
        else torch.lerp(base[name], value, factor)
        for name, value in tuned.items()
    }


def equal_factor(curve: Mapping[float, float], wanted: float) -> float | None:
    """Interpolate the factor at which scaling keeps what is wanted; None where no scaling keeps so little.

    `curve` has what each factor keeps. Of factors that keep as much it is the largest, which undoes least: the smallest
    would let scaling look worse than it is.
    """
    largest = {kept: factor for factor, kept in sorted({**curve, 0.0: 1.0}.items())}
    kept, factors = np.array(sorted(largest.items())).T
    return float(np.interp(wanted, kept, factors)) if wanted >= kept[0] else None
