"""Invented results of a demonstration: every number is known."""

from dataclasses import asdict
from typing import Any

import pytest

from spectral_opt.demo import CONSTRUCTIONS, EQUAL, FAMILIES, LONGER, DemoOptions

METHODS = (
    ("adamw", "AdamW", None, 0.700, 0.80, None),
    ("spectral_penalty", "spectral penalty", None, 0.640, 0.84, None),
    ("spectral_filter", "spectral filter", None, 0.760, 0.81, None),
    ("spectral_both", "spectral penalty and filter", None, 0.704, 0.83, None),
    ("l2sp", "L2-SP", None, 0.702, 0.86, None),
    ("spectral_penalty_permuted", "spectral penalty, nodes permuted", "spectral_penalty", 0.645, 0.845, 0.4),
    ("spectral_filter_permuted", "spectral filter, nodes permuted", "spectral_filter", 0.70, 0.80, 0.001),
)


def score(accuracy: float, kept: float, p_value: float = 0.5) -> dict[str, float]:
    return {
        "accuracy": accuracy,
        "accuracy_low": accuracy - 0.03,
        "accuracy_high": accuracy + 0.03,
        "balanced_accuracy": accuracy - 0.05,
        "macro_f1": accuracy - 0.06,
        "p_value": p_value,
        "p_start": p_value,
        "neighbours_kept": kept,
        "cosine": 1 - (1 - kept) / 6,
        "drift": 0.01,
    }


def bands(share: float, ratio: float) -> dict[str, list[float]]:
    rest = (1 - share) / 4
    snr = [ratio, 0.03, 0.03, 0.03, 0.03]
    return {
        "low": [0.0, 0.2, 0.4, 0.6, 0.8],
        "high": [0.2, 0.4, 0.6, 0.8, 1.0],
        "snr": snr,
        "snr_low": [value - 0.005 for value in snr],
        "snr_high": [value + 0.005 for value in snr],
        "energy_share": [share, rest, rest, rest, rest],
        "lift": [value / 0.03 for value in snr],
        "lift_low": [value / 0.03 - 0.1 for value in snr],
        "lift_high": [value / 0.03 + 0.1 for value in snr],
    }


@pytest.fixture
def results() -> dict[str, Any]:
    carrying = {"cosine of gradients", "cosine of gradients, drawn labels", "Gram of gradients, drawn labels"}
    return {
        "title": "A demonstration, not a claim",
        "command": "spectral-opt demo",
        "seed": 0,
        "model": "tiny-bert",
        "data": "opinions",
        "shuffled_labels": False,
        "options": asdict(DemoOptions()),
        "origins": {"model": "a folder", "data": "a file"},
        "truncated_texts": {"test": 3},
        "versions": {"torch": "2"},
        "hardware": {"cores": 2},
        "seconds": {"graphs": 1.0},
        "graphs": [
            {
                **asdict(construction),
                "null": construction.is_null,
                "matrices": 18,
                "compaction": 0.6 if construction.name in carrying else 0.2,
                "compaction_permuted": 0.2,
                "p_value": 0.005 if construction.name in carrying else 0.5,
                "p_holm": 0.03 if construction.name in carrying else 1.0,
                "carries": construction.name in carrying,
                "bands": bands(0.6, 0.06) if construction.name in carrying else bands(0.2, 0.03),
                "permuted_energy": [0.2] * 5,
                "permuted_lift": {"mean": 1.02, "low": 0.9, "high": 1.1},
            }
            for construction in CONSTRUCTIONS
        ],
        "left_out": [],
        "graph_verdict": "cosine of gradients carries the gradients.",
        "long_training_texts": 1128,
        "majority": {
            "label": "fresh",
            "accuracy": 0.578,
            "balanced_accuracy": 0.5,
            "macro_f1": 0.366,
            "class_counts": {"fresh": 578, "rotten": 422},
        },
        "linear_probe": score(0.672, 1.0, p_value=0.02),
        "training": [
            {
                "method": name,
                "title": title,
                "null_of": null_of,
                "learning_rate": 1e-4,
                "losses": [1.0, 0.5],
                "seconds": 1.0,
                "left_alone": {},
                **({"p_null_accuracy": p_null, "p_null_neighbours": 0.5} if null_of else {}),
                **score(accuracy, kept, 0.001 if abs(accuracy - 0.7) > 0.03 else 0.5),
            }
            for name, title, null_of, accuracy, kept, p_null in METHODS
        ],
        "equal_retention": {"p_value": 0.01},
        "refinement": [
            {"family": LONGER, "is_null": False, "strength": None, **score(0.7, 0.5)},
            *(
                {
                    "family": family.name,
                    "is_null": family.is_null,
                    "strength": strength,
                    # All on one line with the fine-tune: no gain over scaling, whatever the strength.
                    **score(0.7 - 0.01 * place, 0.5 + 0.1 * place),
                }
                for family in FAMILIES
                for place, strength in enumerate(family.strengths, start=1)
            ),
            {"family": EQUAL, "is_null": False, "strength": 0.35, **score(0.68, 0.7)},
        ],
    }
