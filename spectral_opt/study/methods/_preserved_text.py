"""Graphs of the preserved text in training: what the finished fine-tune is refined by, acting at each step."""

from typing import Any, Literal

from paramgraph._checks import known_choice, non_negative, whole_number
from spectral_opt.config import SpectralConfig
from spectral_opt.study import Options
from spectral_opt.tasks import UNUSED_BY_MEAN_POOLING

# Times the learning rate, as the decay of L2-SP: at 2e-4 a pull of .03 after each fifth step.
PRESERVE: Options = {
    "placement": "decoupled",
    "strength": 15.0,
    "every": 5,
    "gamma": 0.1,
    "norm_matched": True,
    "null": None,
}


def preserve(options: Options, graph: Literal["product", "columns"]) -> tuple[SpectralConfig]:
    """Make the penalty "decoupled", of `strength` after `every` steps; or the filter `gamma` of each "update"."""
    strength, gamma = (non_negative(name, options[name]) for name in ("strength", "gamma"))
    every, is_matched = whole_number("every", options["every"], 1), options["norm_matched"]
    known_choice("placement", options["placement"], ("decoupled", "update"))
    if not isinstance(is_matched, bool):
        raise TypeError(f"norm_matched is {is_matched!r}; it must be True or False")
    # Any: fields of all types, which the config checks.
    shared: dict[str, Any] = {"graph": graph, "exclude": UNUSED_BY_MEAN_POOLING, "null": options["null"]}
    if options["placement"] == "update":
        return (SpectralConfig.preserve(gamma, norm_matching=is_matched, **shared),)
    shared |= {"penalty": strength, "penalty_mode": "decoupled", "penalty_every": every, "placement": None}
    return (SpectralConfig.preserve(**shared),)
