"""A comparison as plain data, made up but deterministic: what the page and its figures are tested on."""

from itertools import combinations
from typing import Any

import numpy as np

BUILDERS = (
    ("cosine_knn", "gradients", "CosineKNN(k=10)", 0.42),
    ("cosine_knn", "weights", "CosineKNN(k=10)", 0.24),
    ("gaussian_knn", "activations", "GaussianKNN(k=10)", 0.27),
    ("correlation", "activations", "Correlation(estimator='ledoit_wolf')", 0.31),
    ("gram", "gradients", "Gram()", 0.55),
    ("ring", "weights", "Ring()", 0.2),
    ("gram", "weights", "Gram()", 0.23),
    ("correlation", "gradients", "Correlation()", 0.38),
    ("gaussian_knn", "gradients", "GaussianKNN(k=10)", 0.36),
    ("cosine_knn", "activations", "CosineKNN(k=10)", 0.26),
)
ROLES = (
    *("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"),
    *("intermediate.dense", "output.dense"),
)
LLAMA_ROLES = (
    *("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"),
    *("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"),
)


def synthetic_comparison(
    depth: int = 3,
    roles: tuple[str, ...] = ROLES,
    constructions: int = 5,
    seeds: int = 1,
    *,
    batches: bool = True,
    drawing: bool = True,
) -> dict[str, Any]:
    """Make a comparison of `depth` x `roles` layers."""
    generator = np.random.default_rng(0)
    chosen = [
        (f"{builder} of {source}", builder, source, text, low) for builder, source, text, low in BUILDERS
    ]
    chosen = chosen[:constructions]
    layers = [(f"encoder.layer.{at}.{role}.weight", at, role) for at in range(depth) for role in roles]
    cells = [
        _cell(generator, layer, construction, seed, batches)
        for layer in layers
        for construction in chosen
        for seed in range(seeds)
    ]
    return {
        "title": "Which graph of all-MiniLM-L6-v2 carries the gradients?",
        "setting": {
            "model": "all-MiniLM-L6-v2",
            "scheme": "rows",
            "targets": "all-linear",
            "signal": "gradients" if batches else "weights",
            "bands": [0, 0.2, 0.4, 0.6, 0.8, 1],
            "share": 0.2,
            "nulls": ["permuted", "rotated", "random"],
            "seeds": list(range(seeds)),
            "permutations": 199,
            "batches": {"build": 6, "measure": 6} if batches else {},
            "command": "paramgraph compare all-MiniLM-L6-v2 --data rotten_tomatoes --out comparison",
            "chosen": [
                "The signal is the gradient, because batches were given.",
                "Modes: all 384, the matrices are small.",
            ],
            "versions": {"paramgraph": "0.1.0", "torch": "2.13.0"},
            "hardware": {"cpu": "x86_64", "cores": 2},
            "seconds": 81.25,
            "peak_megabytes": 912.4,
            "date": "2026-11-27",
        },
        "constructions": [
            {"name": name, "builder": text, "source": source} for name, _, source, text, _ in chosen
        ],
        "cells": cells,
        "agreements": _agreements(
            generator, [name for name, *_ in chosen], [layer for layer, *_ in layers], seeds
        ),
        "summary": [_summary(cells, construction) for construction in chosen],
        "verdict": "Of 5 constructions, cosine_knn of gradients gathers most of the gradient that it did not see: 42 % "
        "of its energy in the lowest fifth of the spectrum where its permuted null has 20 % (p < 0.001, Holm).",
        "failures": [
            {
                "layer": "encoder.layer.0.attention.self.query.weight",
                "construction": "mine",
                "error": "ValueError: the graph has 3 nodes, the table 384: return the Data you were given",
            }
        ],
        "refused": [
            {
                "builder": "partial_correlation",
                "source": "gradients",
                "scheme": "rows",
                "reason": "1,536 nodes: the graphical lasso is meant for at most 600",
            }
        ],
        "drawing": _drawing(generator, layers[0][0], chosen[0][0]) if drawing else None,
    }


def _cell(generator: Any, layer: Any, construction: Any, seed: int, batches: bool) -> dict[str, Any]:
    name, depth, role = layer
    title, builder, source, _, low = construction
    wide = role.startswith(("intermediate", "mlp.gate", "mlp.up"))
    low = float(np.clip(low + 0.03 * generator.normal() + (0.04 if wide and low > 0.22 else 0), 0.12, 0.9))
    energy = _spread(low)
    null = float(0.2 + 0.002 * generator.normal())
    adjacency = builder == "gram"
    snr = [round(0.045 * share / 0.2, 5) for share in energy] if batches else None
    nodes = 1536 if wide else 384
    values = np.linspace(0, 1, 21)
    eigenvalues = 40 * (1 - values) ** 6 + 0.1 if adjacency else 1.35 * values ** (0.4 + low)
    signed = (low - null) / 0.006
    return {
        **{"layer": name, "depth": depth, "role": role, "construction": title, "builder": builder},
        **{
            "source": source,
            "seed": seed,
            "nodes": nodes,
            "edges": 2 * nodes if builder == "ring" else nodes * 7,
        },
        **{"components": 1 + int(generator.integers(3)), "isolated": int(generator.integers(2))},
        **{"degree_min": 2, "degree_median": 13.0, "degree_mean": 14.2, "degree_max": 61},
        **{"spectral_gap": float(generator.uniform(0.01, 0.2)), "algebraic_connectivity": 0.0124},
        **{"shift": "adjacency" if adjacency else "laplacian", "modes": nodes},
        **{"energy": energy, "energy_low": energy[0], "energy_high": energy[-1]},
        **{"null_energy": [null, *[(1 - null) / 4] * 4], "null_energy_sd": [0.006] * 5},
        "snr": snr,
        "snr_interval_low": [value - 0.006 for value in snr] if snr else None,
        "snr_interval_high": [value + 0.006 for value in snr] if snr else None,
        "snr_low": snr[0] if snr else None,
        "snr_high": snr[-1] if snr else None,
        "lift_low": low / 0.2 if batches else None,
        "lift_low_interval": [low / 0.2 - 0.1, low / 0.2 + 0.1] if batches else None,
        "lift_low_permuted": 1.01 if batches else None,
        "gain": 1 + (low - 0.2) ** 2 * 6 if batches else None,
        "gain_interval": [1.0, 1 + (low - 0.2) ** 2 * 9] if batches else None,
        "gain_permuted": 1.004 if batches else None,
        **{
            "compaction": low,
            "compaction_permuted": null,
            "compaction_rotated": 0.2,
            "compaction_random": 0.203,
        },
        **{
            "z_score": signed,
            "z_rotated": signed * 0.9,
            "p_value": max(0.005, float(np.exp(-max(signed, 0) / 2))),
        },
        "edge_stability": float(generator.uniform(0.4, 0.7)) if source != "weights" and batches else None,
        "edge_stability_expected": 0.02 if batches else None,
        "seed_stability": 1.0,
        "response": {"edges": [0, 0.2, 0.4, 0.6, 0.8, 1], "gains": [1.0, 0.52, 0.4, 0.38, 0.41]}
        if batches
        else None,
        "eigenvalues": [float(value) for value in eigenvalues],
        "circular": builder == "gram" and source == "gradients",
        **{"build_seconds": 0.021, "seconds": 0.35, "graph_megabytes": 0.062},
    }


def _spread(low: float) -> list[float]:
    rest = np.array([0.27, 0.245, 0.235, 0.25]) * (1 - low)
    return [low, *map(float, rest)]


def _summary(cells: list[dict[str, Any]], construction: Any) -> dict[str, Any]:
    title, builder, source, *_ = construction
    mine = [cell for cell in cells if cell["construction"] == title]

    def mean(column: str) -> float | None:
        values = [cell[column] for cell in mine if cell[column] is not None]
        return float(np.mean(values)) if values else None

    def ends(column: str, place: int) -> float | None:
        values = [cell[column][place] for cell in mine if cell[column]]
        return float(np.mean(values)) if values else None

    def means(column: str) -> list[float] | None:
        values = [cell[column] for cell in mine if cell[column]]
        return [float(value) for value in np.mean(values, axis=0)] if values else None

    same = (
        "compaction",
        "compaction_permuted",
        "compaction_rotated",
        "compaction_random",
        "lift_low",
        "gain",
    )
    same += (
        "lift_low_permuted",
        "gain_permuted",
        "edge_stability",
        "edge_stability_expected",
        "seed_stability",
    )
    same += ("nodes", "edges", "graph_megabytes")
    z_score = float(mean("z_score") or 0) * len(mine) ** 0.5
    return {
        **{
            "construction": title,
            "builder": builder,
            "source": source,
            "layers": len({cell["layer"] for cell in mine}),
        },
        **{column: mean(column) for column in same},
        **{"lift_low_low": ends("lift_low_interval", 0), "lift_low_high": ends("lift_low_interval", 1)},
        **{"gain_low": ends("gain_interval", 0), "gain_high": ends("gain_interval", 1)},
        **{
            "z_score": z_score,
            "p_value": float(np.exp(-max(z_score, 0))),
            "p_holm": float(min(1, 5 * np.exp(-max(z_score, 0)))),
        },
        **{column: means(column) for column in ("energy", "null_energy", "null_energy_sd", "snr")},
        **{"seconds": sum(cell["seconds"] for cell in mine), "circular": mine[0]["circular"]},
        "null": builder == "ring",
    }


def _agreements(generator: Any, names: list[str], layers: list[str], seeds: int) -> list[dict[str, Any]]:
    def related(first: str, second: str) -> float:
        return 0.5 if first.split(" of ")[1] == second.split(" of ")[1] else 0.06

    return [
        {
            **{"layer": layer, "seed": seed, "first": first, "second": second},
            "jaccard": float(related(first, second) * generator.uniform(0.8, 1.2)),
            "expected_jaccard": 0.02,
            "alignment": float(0.2 + related(first, second) * generator.uniform(0.5, 1)),
            "expected_alignment": 0.2,
            "spectral_distance": float(generator.uniform(0.01, 0.4)),
        }
        for layer in layers
        for seed in range(seeds)
        for first, second in combinations(names, 2)
    ]


def _drawing(generator: Any, layer: str, construction: str) -> dict[str, Any]:
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    rows = [node for node in range(60) for _ in range(3)]
    columns = [(node + step) % 60 for node in range(60) for step in (1, 2, 7)]
    weights = generator.uniform(0.2, 1, len(rows))
    return {
        **{"layer": layer, "construction": construction, "nodes": 60, "of_nodes": 384},
        "edge_index": [rows, columns],
        "edge_weight": [float(weight) for weight in weights],
        "values": [float(value) for value in np.sin(angle)],
    }
