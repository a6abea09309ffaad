"""Where the energy of a signal lies in a spectrum, beside what null models would give."""

import math
import warnings
from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import Any

from jaxtyping import Float
from torch import Tensor
from torch_geometric.data import Data

from paramgraph.builders import RandomRewired
from paramgraph.errors import NumericalWarning
from paramgraph.measures import GramSums, permuted_moments, rotated_moments
from paramgraph.spectra import ShiftOperator, Spectrum, adjacency, eigenpairs, laplacian


def shift_of(graph: Data, shift: str) -> ShiftOperator:
    """Take the operator whose spectrum is that of a graph.

    Parameters
    ----------
    graph : Data
        The graph.
    shift : {"auto", "laplacian", "adjacency"}
        "auto": the symmetric normalized Laplacian, or the adjacency where weights are signed.

    Returns
    -------
    ShiftOperator
        The operator.
    """
    signed = graph.get("signed") is True
    if shift == "adjacency" or (shift == "auto" and signed):
        return adjacency(graph)
    return laplacian(graph, signed=True if signed else None)


def energy_by_band(
    spectrum: Spectrum,
    X: Float[Tensor, "nodes width"],
    edges: Sequence[int],
    permuted: bool,
    sums: GramSums | None = None,
) -> dict[str, Any]:
    """Measure the share of a signal's energy in each band, with its mean and deviation under permutation.

    Parameters
    ----------
    spectrum : Spectrum
        Of a symmetric operator; where it is not complete, one more band holds what its modes leave.
    X : Tensor of shape (nodes, width)
        The signal, float64.
    edges : sequence of int
        Band b holds the modes from entry b up to, but not with, entry b + 1.
    permuted : bool
        Whether to give the null as well.
    sums : GramSums, optional
        Of X, where they are known.

    Returns
    -------
    dict
        `energy`, `energy_low`, `energy_high`, and `null_energy`, `null_energy_sd`.
    """
    whole = float(X.square().sum())
    modes = (spectrum.eigenvectors.T @ X).square().sum(dim=1)
    bands = [(low, high) for low, high in pairwise(edges)]
    energy = [float(modes[low:high].sum()) / whole if whole > 0 else math.nan for low, high in bands]
    if not spectrum.complete:
        energy.append(1 - sum(energy))
    found: dict[str, Any] = {"energy": energy, "energy_low": energy[0], "energy_high": energy[-1]}
    if permuted:
        nulls = [permuted_moments(spectrum.eigenvectors[:, low:high], X, sums) for low, high in bands]
        means, deviations = [null.mean for null in nulls], [null.deviation for null in nulls]
        if not spectrum.complete:  # one band and its rest: what one gains the other loses
            means, deviations = [*means, 1 - sum(means)], [*deviations, *deviations]
        found |= {"null_energy": means, "null_energy_sd": deviations}
    return found


def compaction_beside_nulls(
    spectrum: Spectrum,
    X: Float[Tensor, "nodes width"],
    low: int,
    nulls: Collection[str],
    sums: GramSums | None = None,
) -> dict[str, Any]:
    """Measure the energy in the lowest modes, with what its nulls give on average.

    Parameters
    ----------
    spectrum : Spectrum
        Of a symmetric operator.
    X : Tensor of shape (nodes, width)
        The signal, float64.
    low : int
        Number of modes that count as low.
    nulls : collection of str
        Of "permuted" and "rotated".
    sums : GramSums, optional
        Of X, where they are known.

    Returns
    -------
    dict
        `compaction`, and mean, deviation and z-score under the nulls.
    """
    basis = spectrum.eigenvectors[:, :low]
    whole = float(X.square().sum())
    energy = float((basis.T @ X).square().sum()) / whole if whole > 0 else math.nan
    found: dict[str, Any] = {"compaction": energy, "compaction_share": low / spectrum.nodes}
    if "permuted" in nulls:
        null = permuted_moments(basis, X, sums)
        found |= {
            "compaction_permuted": null.mean,
            "compaction_permuted_sd": null.deviation,
            "z_score": null.z_score(energy),
        }
    if "rotated" in nulls:
        null = rotated_moments(basis, X, sums)
        found |= {"compaction_rotated": null.mean, "z_rotated": null.z_score(energy)}
    return found


def rewired_compaction(
    graph: Data, X: Float[Tensor, "nodes width"], low: int, shift: str, seed: int
) -> float | None:
    """Measure the energy in the lowest modes of a random graph of the same degrees.

    Parameters
    ----------
    graph : Data
        The graph.
    X : Tensor of shape (nodes, width)
        The signal, float64.
    low : int
        Number of modes that count as low.
    shift : str
        As in `shift_of`.
    seed : int
        Of the rewiring.

    Returns
    -------
    float or None
        None where degrees leave no choice: the complete graph, a star, no edges.
    """
    nodes, pairs = graph.num_nodes or 0, graph.edge_index.shape[1] // 2
    if not pairs or 2 * pairs == nodes * (nodes - 1):
        return None
    with warnings.catch_warnings():
        # It says that nothing was rewired; that is what None says here.
        warnings.simplefilter("ignore", NumericalWarning)
        rewired = RandomRewired(lambda data: data, seed=seed)(graph)
    if rewired.rewired_share == 0.0:
        return None
    basis = eigenpairs(shift_of(rewired, shift), k=low, seed=seed).eigenvectors
    whole = float(X.square().sum())
    return float((basis.T @ X).square().sum()) / whole if whole > 0 else math.nan
