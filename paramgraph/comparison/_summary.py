"""A comparison pooled over layers: one row for each construction."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from paramgraph.comparison._plain_values import plain
from paramgraph.comparison.noise_evidence import noise_facts
from paramgraph.measures import BandStatistics, jackknife_statistics, permutation_p_value, pool_bands

MEANS = (
    "compaction",
    "compaction_share",
    "compaction_permuted",
    "compaction_rotated",
    "compaction_random",
    "energy_low",
    "energy_high",
    "edge_stability",
    "edge_stability_expected",
    "weight_stability",
    "seed_stability",
    "spectral_gap",
)
TOTALS = ("nodes", "edges", "components", "isolated", "build_seconds", "seconds")


def summarize(
    constructions: Sequence[Mapping[str, Any]], cells: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    r"""Pool the cells of each construction over layers and seeds.

    Shares and stabilities are means over cells, counts and seconds are sums over layers (means over seeds). The
    z-score of a sum over layers is :math:`\sum_l (T_l - \mu_l) / \sqrt{\sum_l \sigma_l^2}`, and the p-value counts the
    permutations whose sum :math:`\sum_l T_{l \pi}` is as large: a test of the mean compaction, not of whether some
    layer is out of the ordinary. Layers of one size are permuted alike, so that the p-value allows for what they have
    in common, such as the dimensions of a residual stream; the z-score takes them as independent, and is the larger
    for it. Of several seeds, which share their text, the largest p-value is taken. Holm's
    correction is over all constructions that were tested; one whose graph was built from the very signal it is
    measured on has no p-value. Signal and noise, as they are and with nodes permuted, are pooled as in `pool_bands`.

    Parameters
    ----------
    constructions : sequence of mapping
        With `name`, `builder`, `source` and `null`.
    cells : sequence of mapping
        As in `Comparison.cells`, with the `evidence` of `compare_layer`.

    Returns
    -------
    list of dict
        One for each construction, in their order; without those of which nothing was measured.

    Examples
    --------
    >>> cell = {"construction": "ring", "layer": "a", "seed": 0, "compaction": 0.3, "circular": False}
    >>> cell["evidence"] = {"draws": [0.1, 0.4, 0.2]}
    >>> row = summarize([{"name": "ring", "builder": "Ring()", "source": "none", "null": True}], [cell])[0]
    >>> row["compaction"], row["p_value"], row["p_holm"]
    (0.3, 0.5, 0.5)
    """
    rows = []
    for construction in constructions:
        own = [cell for cell in cells if cell["construction"] == construction["name"]]
        if own:
            rows.append(_row(construction, own))
    tested = [row for row in rows if row["p_value"] is not None]
    for row, corrected in zip(tested, holm([row["p_value"] for row in tested]), strict=True):
        row["p_holm"] = corrected
    return [plain(row) for row in rows]


def holm(p_values: Sequence[float]) -> list[float]:
    r"""Correct p-values for their number by Holm's step-down method.

    .. math:: \tilde p_{(i)} = \max_{j \le i} \min(1, (m - j + 1) \, p_{(j)})

    Parameters
    ----------
    p_values : sequence of float
        Of m tests.

    Returns
    -------
    list of float
        In the same order; a family-wise error of a is kept by rejecting what is at most a.

    References
    ----------
    .. [1] S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics
       6(2), 1979.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(order), 0, -1)
    stepped = np.maximum.accumulate(np.minimum(1.0, factors * np.asarray(p_values, dtype=float)[order]))
    corrected = np.empty(len(order))
    corrected[order] = stepped
    return [float(value) for value in corrected]


def _row(construction: Mapping[str, Any], cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    seeds = list(dict.fromkeys(cell["seed"] for cell in cells))
    by_seed = [[cell for cell in cells if cell["seed"] == seed] for seed in seeds]
    circular = any(cell["circular"] for cell in cells)
    row: dict[str, Any] = {
        "construction": construction["name"],
        "builder": construction["builder"],
        "source": construction["source"],
        "null": construction["null"],
        "circular": circular,
        "layers": len({cell["layer"] for cell in cells}),
        **{name: _total(cells, name) / len(seeds) for name in TOTALS},
        **{name: _mean(cells, name) for name in MEANS},
        "graph_megabytes": max(cell.get("graph_megabytes") or 0.0 for cell in cells),
        "z_score": _mean_of([_pooled_z(part) for part in by_seed]),
        "p_value": None if circular else _pooled_p(by_seed),
        "p_holm": None,
        **_pooled_energy(cells),
        **_pooled_noise(by_seed),
    }
    return row


def _numbers(cells: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    return [float(cell[name]) for cell in cells if cell.get(name) is not None and math.isfinite(cell[name])]


def _total(cells: Sequence[Mapping[str, Any]], name: str) -> float:
    return float(sum(_numbers(cells, name)))


def _mean(cells: Sequence[Mapping[str, Any]], name: str) -> float | None:
    return _mean_of(_numbers(cells, name))


def _mean_of(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None and math.isfinite(value)]
    return float(np.mean(known)) if known else None


def _pooled_z(cells: Sequence[Mapping[str, Any]]) -> float | None:
    known = [cell for cell in cells if cell.get("z_score") is not None]
    if not known:
        return None
    above = sum(cell["compaction"] - cell["compaction_permuted"] for cell in known)
    return float(above / math.sqrt(sum(cell["compaction_permuted_sd"] ** 2 for cell in known)))


def _pooled_p(by_seed: Sequence[Sequence[Mapping[str, Any]]]) -> float | None:
    pooled = []
    for part in by_seed:
        drawn = [cell for cell in part if None not in (cell.get("evidence") or {}).get("draws", [None])]
        if drawn:
            sums = np.sum([cell["evidence"]["draws"] for cell in drawn], axis=0)
            pooled.append(permutation_p_value(sum(cell["compaction"] for cell in drawn), sums))
    return max(pooled) if pooled else None


def _pooled_energy(cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean share by band, with the null's mean and the deviation of its mean over layers."""
    lengths = [len(cell["energy"]) for cell in cells if cell.get("energy")]
    bands = max(set(lengths), key=lengths.count, default=0)
    alike = [cell for cell in cells if cell.get("energy") and len(cell["energy"]) == bands]
    finite = [cell for cell in alike if None not in cell["energy"]]
    if not finite:
        return {"energy": None, "null_energy": None, "null_energy_sd": None}
    nulls = [cell for cell in finite if cell.get("null_energy") and None not in cell["null_energy"]]
    layers = len({cell["layer"] for cell in nulls})
    found: dict[str, Any] = {"energy": np.mean([cell["energy"] for cell in finite], axis=0)}
    found["null_energy"] = np.mean([cell["null_energy"] for cell in nulls], axis=0) if nulls else None
    # Layers are permuted one by one; seeds of a layer are not independent and count once.
    squares = [np.square(cell["null_energy_sd"]) for cell in nulls]
    found["null_energy_sd"] = np.sqrt(np.mean(squares, axis=0) / layers) if nulls else None
    return found


def _pooled_noise(by_seed: Sequence[Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Lift and gain pooled over layers; of several seeds the mean, within the widest interval."""
    found = [facts for part in by_seed if (facts := _pooled_facts(part, "statistics"))]
    nulls = [facts for part in by_seed if (facts := _pooled_facts(part, "null_statistics"))]
    row: dict[str, Any] = {"snr": np.mean([one["snr"] for one in found], axis=0) if found else None}
    for name in ("lift_low", "gain"):
        ends = [one[f"{name}_interval"] for one in found if one[f"{name}_interval"] is not None]
        row[name] = _mean_of([one[name] for one in found])
        row[f"{name}_low"] = min((low for low, _ in ends), default=None)
        row[f"{name}_high"] = max((high for _, high in ends), default=None)
        row[f"{name}_permuted"] = _mean_of([one[name] for one in nulls])
    return row


def _pooled_facts(cells: Sequence[Mapping[str, Any]], name: str) -> dict[str, Any] | None:
    """Ratios, lift and gain of all layers together; None where there are none, or their bands differ."""
    statistics = [
        _statistics(cell["evidence"][name]) for cell in cells if name in (cell.get("evidence") or {})
    ]
    usable = [one for one in statistics if one.noise.sum() > 0]
    if not usable or len({tuple(one.high) for one in usable}) > 1:
        return None
    return noise_facts(pool_bands(usable))


def _statistics(values: Mapping[str, Any]) -> BandStatistics:
    arrays = {name: np.array(value, dtype=float) for name, value in values.items()}
    arrays["modes"] = arrays["modes"].astype(np.int64)
    return jackknife_statistics(**arrays)
