"""Options of a run, checked where they are read: a plan is a file that somebody has written."""

from typing import Literal, cast

from torch import nn

from paramgraph._checks import is_number, known_choice, non_negative
from paramgraph.sources import usual_objective
from spectral_opt.study import Options

# None: what is usual for the model.
OBJECTIVES = (None, "representation", "labels")


def strength_of(options: Options, name: str = "strength") -> float:
    """Read a factor that is not negative; TypeError or ValueError for anything else."""
    return non_negative(name, options[name])


def share_of(options: Options, name: str = "share") -> float:
    """Read a share of 0 to 1; ValueError for anything else."""
    share = options[name]
    if not is_number(share) or not 0 <= share <= 1:
        raise ValueError(f"{name} is {share!r}; it must be a share from 0 to 1")
    return float(share)


def switch_of(options: Options, name: str) -> bool:
    """Read true or false; TypeError for anything else, as the word "false" would count as true."""
    if not isinstance(options[name], bool):
        raise TypeError(f"{name} is {options[name]!r}; it must be true or false")
    return bool(options[name])


def objective_of(options: Options, model: nn.Module) -> Literal["representation", "labels"]:
    """Read what gradients are of, what is usual for the model where it is open; ValueError for anything else."""
    objective = options["objective"]
    known_choice("objective", objective, OBJECTIVES)
    return cast(Literal["representation", "labels"], objective or usual_objective(model))
