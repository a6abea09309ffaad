"""Estimate the Wiener response of a graph: gains by band that bring a noisy gradient closest to the expected one."""

from collections.abc import Mapping
from typing import NamedTuple, overload

import numpy as np
from jaxtyping import Float
from scipy.special import stdtrit

from paramgraph.filters import MeasuredResponse, measured_steps
from paramgraph.measures.band_statistics import (
    LOW_BANDS,
    Bands,
    band_edges,
    check_averaged,
    jackknife_error,
    signal_to_noise,
)
from paramgraph.measures.projection import BatchGradients, level_ends
from paramgraph.spectra import Spectrum, check_spectrum

Gradients = BatchGradients | Mapping[str, BatchGradients]


class _Evidence(NamedTuple):
    """Signal and noise in all bands asked for, zero in empty ones, also with one batch left out."""

    signal: Float[np.ndarray, " bands"]
    noise: Float[np.ndarray, " bands"]
    left_signal: Float[np.ndarray, "bands batches"]
    left_noise: Float[np.ndarray, "bands batches"]

    def over(self, scale: float) -> "_Evidence":
        return _Evidence(*(part / scale for part in self))


class _Gains(NamedTuple):
    gain: Float[np.ndarray, " bands"]
    raw: Float[np.ndarray, " bands"]
    low: Float[np.ndarray, " bands"]
    high: Float[np.ndarray, " bands"]


@overload
def measured(
    spectrum: Spectrum,
    gradients: BatchGradients,
    bands: Bands = ...,
    noise_gradients: BatchGradients | None = ...,
    batches_averaged: float = ...,
    pool: bool = ...,
) -> MeasuredResponse: ...


@overload
def measured(
    spectrum: Mapping[str, Spectrum],
    gradients: Mapping[str, BatchGradients],
    bands: Bands = ...,
    noise_gradients: Mapping[str, BatchGradients] | None = ...,
    batches_averaged: float = ...,
    pool: bool = ...,
) -> dict[str, MeasuredResponse]: ...


def measured(
    spectrum: Spectrum | Mapping[str, Spectrum],
    gradients: Gradients,
    bands: Bands = LOW_BANDS,
    noise_gradients: Gradients | None = None,
    batches_averaged: float = 1,
    pool: bool = False,
) -> MeasuredResponse | dict[str, MeasuredResponse]:
    r"""Estimate a response from the gradients of several batches.

    .. math:: h(\lambda) = \frac{S_b}{S_b + N_b / m + S'_b} \text{ for } \lambda \text{ in band } b, \qquad
        S_b = \sum_{k \in b} (E_k - v_k / B), \quad N_b = \sum_{k \in b} v_k

    is the gain that brings the gradient of m averaged batches closest to the expected gradient, in the least squares
    sense, with one gain for each band [1]_. S is the energy of the expected gradient and N the variance
    of one batch's, as in `signal_to_noise`; S' is the energy of what shall not be followed, the expected gradient of
    other batches. Nothing is clipped before the end, when h is brought into [0, 1]; `.clipped` counts the
    bands for which that changed something. A band without any gradient is left alone (gain 1). Bands are shares of
    the modes; each end is moved to the nearest gap of the spectrum, so that equal eigenvalues (up to 1e-7 of the
    largest) have equal gains, and bands that become empty are dropped.

    Parameters
    ----------
    spectrum : Spectrum, or mapping of str to Spectrum
        Of a symmetric operator, best from other batches than these; or of several tables.
    gradients : as in `signal_to_noise`, or mapping of str to these
        With a mapping of spectra, a mapping of the same keys, whose batches are the same ones in the same order.
    bands : sequence of float, default (0, .01, .05, .2, .4, .6, 1)
        Shares of the modes where bands begin and end, low graph frequency first.
    noise_gradients : as `gradients`, optional
        Of batches whose *signal* counts as noise, such as the text to be preserved; in the same units, so with the
        same loss. Their own noise is left out.
    batches_averaged : float, default 1
        m. 1 is for the gradient of one batch. A mean of m batches has less noise, and so has momentum: that of
        factor b averages (1 + b) / (1 - b) batches, 19 for .9.
    pool : bool, default False
        Several tables: pool S and N over tables, each in units of its own whole noise as in `pool_bands`, so that all
        tables have the gains of the same bands, at edges of their own.

    Returns
    -------
    MeasuredResponse, or dict of str to MeasuredResponse
        A piecewise constant function of the eigenvalue, with `.gains`, their unclipped `.raw` estimates and
        `.low`, `.high` of 95 % by the jackknife; two sets of batches are left out in turn, and Student's t is that
        of the smaller one. Beyond the measured eigenvalues the nearest band goes on. The cost is that of
        `signal_to_noise`.

    Raises
    ------
    ValueError
        If there are fewer than three batches, a gradient is not finite, has other rows or is zero everywhere,
        keys differ, `bands` does not rise from 0 to 1, or `batches_averaged` is below 1.

    References
    ----------
    .. [1] N. Perraudin, P. Vandergheynst, "Stationary signal processing on graphs", IEEE Transactions on Signal
       Processing 65(13), 2017.

    Examples
    --------
    >>> import networkx as nx, torch
    >>> from paramgraph import eigenpairs, laplacian
    >>> noise = torch.randn(50, 4, 8, generator=torch.Generator().manual_seed(0))
    >>> h = measured(eigenpairs(laplacian(nx.path_graph(4))), noise + 1.0, bands=(0, 0.5, 1))
    >>> bool(h.gains[0] > 0.5), bool(h.gains[1] < 0.1)
    (True, True)
    """
    averaged = check_averaged(batches_averaged)
    if isinstance(spectrum, Mapping):
        return _several(spectrum, gradients, bands, noise_gradients, averaged, pool)
    if pool:
        raise ValueError("pool=True is for a mapping of several spectra")
    if isinstance(gradients, Mapping) or isinstance(noise_gradients, Mapping):
        raise ValueError("gradients of several tables, a mapping, need a mapping of their spectra")
    task = _evidence(spectrum, gradients, bands)
    other = None if noise_gradients is None else _evidence(spectrum, noise_gradients, bands)
    return _response(spectrum, bands, _gains(task, other, averaged), averaged)


def _several(
    spectra: Mapping[str, Spectrum],
    gradients: Gradients,
    bands: Bands,
    noise: Gradients | None,
    averaged: float,
    pool: bool,
) -> dict[str, MeasuredResponse]:
    given = [_of_all(spectra, "gradients", gradients)]
    if noise is not None:
        given.append(_of_all(spectra, "noise_gradients", noise))
    if not spectra:
        raise ValueError("nothing to measure: give the spectrum of at least one table")
    task, *others = [
        {name: _evidence(one, part[name], bands) for name, one in spectra.items()} for part in given
    ]
    other = others[0] if others else None
    if not pool:
        gains = {
            name: _gains(task[name], None if other is None else other[name], averaged) for name in spectra
        }
    else:
        whole = {name: float(one.noise.sum()) for name, one in task.items()}
        if min(whole.values()) <= 0:
            raise ValueError(
                "a gradient without any noise across batches cannot be pooled: are batches all the same?"
            )
        shared = _gains(_pooled(task, whole), None if other is None else _pooled(other, whole), averaged)
        gains = dict.fromkeys(spectra, shared)
    return {name: _response(one, bands, gains[name], averaged) for name, one in spectra.items()}


def _of_all(spectra: Mapping[str, Spectrum], name: str, given: Gradients) -> Mapping[str, BatchGradients]:
    """Refuse gradients that are not those of these very tables."""
    if not isinstance(given, Mapping) or set(given) != set(spectra):
        kind = sorted(given) if isinstance(given, Mapping) else type(given).__name__
        raise ValueError(
            f"{name} must be a mapping with the keys of the spectra {sorted(spectra)}, got {kind}"
        )
    return given


def _pooled(parts: Mapping[str, _Evidence], whole: Mapping[str, float]) -> _Evidence:
    counts = {part.left_signal.shape[1] for part in parts.values()}
    if len(counts) > 1:
        raise ValueError(f"pooling needs the same batches for all tables, got {sorted(counts)} batches")
    scaled = [part.over(whole[name]) for name, part in parts.items()]
    return _Evidence(*(np.sum(each, axis=0) for each in zip(*scaled, strict=True)))


def _cuts(spectrum: Spectrum, bands: Bands) -> np.ndarray:
    """Move the ends of bands to gaps of the spectrum; of two that are as near, the lower."""
    ends = level_ends(spectrum)
    wanted = np.array(band_edges(spectrum.modes, bands))
    nearest = np.abs(ends - wanted[:, None]).argmin(axis=1)
    return np.asarray(ends[nearest])


def _evidence(spectrum: Spectrum, gradients: BatchGradients, bands: Bands) -> _Evidence:
    """Estimate signal and noise in whole eigenspaces."""
    check_spectrum(spectrum, "measured")
    if not spectrum.modes:
        raise ValueError("the spectrum holds no modes, so there is nothing to measure")
    cuts = _cuts(spectrum, bands)
    found = signal_to_noise(spectrum, gradients, [cut / spectrum.modes for cut in np.unique(cuts).tolist()])
    if not (found.noise.any() or found.signal.any()):
        raise ValueError("all gradients are zero on this spectrum: are these the right batches and nodes?")
    filled = np.diff(cuts) > 0
    parts = [getattr(found, name) for name in _Evidence._fields]
    spread = [np.zeros((len(filled), *part.shape[1:])) for part in parts]
    for target, part in zip(spread, parts, strict=True):
        target[filled] = part
    return _Evidence(*spread)


def _gains(task: _Evidence, other: _Evidence | None, averaged: float) -> _Gains:
    """Form h in each band with its interval; clipped at the very end."""
    extra = np.zeros_like(task.signal) if other is None else other.signal
    with np.errstate(divide="ignore", invalid="ignore"):
        whole = task.signal + task.noise / averaged + extra
        raw = task.signal / whole
        left = task.left_signal / (task.left_signal + task.left_noise / averaged + extra[:, None])
        error, batches = jackknife_error(left)[0], left.shape[1]
        if other is not None:
            fixed = (task.signal + task.noise / averaged)[:, None]
            without = task.signal[:, None] / (fixed + other.left_signal)
            error = np.hypot(error, jackknife_error(without)[0])
            batches = min(batches, without.shape[1])
        reach = stdtrit(batches - 1, 0.975) * error
    # Where estimates leave no positive denominator, the sign of the signal decides.
    gain = np.where(whole > 0, np.clip(raw, 0.0, 1.0), (task.signal > 0).astype(float))
    empty = (task.signal == 0) & (task.noise == 0)
    return _Gains(np.where(empty, 1.0, gain), np.where(empty, np.nan, raw), raw - reach, raw + reach)


def _response(spectrum: Spectrum, bands: Bands, gains: _Gains, averaged: float) -> MeasuredResponse:
    """Write the gains of filled bands on the axis of eigenvalues."""
    values = spectrum.eigenvalues.to("cpu").double().numpy()
    cuts = _cuts(spectrum, bands)
    inner = np.unique(cuts)[1:-1]
    edges, modes = (values[inner - 1] + values[inner]) / 2, np.diff(cuts)
    parts = [part[modes > 0] for part in (*gains, modes)]
    if spectrum.kind == "adjacency":  # its strong modes, the largest eigenvalues, come first
        edges, parts = edges[::-1], [part[::-1] for part in parts]
    gain, raw, low, high, modes = parts
    steps = measured_steps(edges.tolist(), gain.tolist())
    return MeasuredResponse(
        steps.name,
        steps.options,
        steps.rule,
        raw=tuple(raw.tolist()),
        low=tuple(low.tolist()),
        high=tuple(high.tolist()),
        modes=tuple(modes.tolist()),
        clipped=int((~np.isnan(raw) & (gain != raw)).sum()),
        covered=(float(values.min()), float(values.max())),
        batches_averaged=averaged,
    )
