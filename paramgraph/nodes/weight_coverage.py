"""How much of a model is in nodes, and why the rest is not."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from torch import nn

from paramgraph.display import by_reason, some_names
from paramgraph.nodes.targets import Targets, chosen_layers, each_weight_once

# Where less than this is in nodes, what is said of the nodes may not be true of the model.
ENOUGH = 0.9


@dataclass(frozen=True)
class Coverage:
    """How much of a model's weights a choice of layers has, and what it had to leave out.

    Weights are parameters of two or more dimensions outside of embeddings and output heads, each counted once.

    Parameters
    ----------
    covered : int
        Entries of the matrices that are cut into nodes.
    weights : int
        Entries of all weights.
    excluded : int
        Entries that the rule itself leaves out, which is no failure.
    left_out : mapping of str to str
        Name of each layer or parameter that the rule means and that cannot be cut, and why.
    explicit : bool
        Whether layers were named, in place of "all-linear".

    Examples
    --------
    >>> import torch
    >>> found = coverage(torch.nn.Sequential(torch.nn.Conv1d(4, 6, 1), torch.nn.Linear(6, 4)))
    >>> found.share, found.left_out
    (0.5, {'0.weight': 'of Conv1d, which is no linear layer'})
    """

    covered: int
    weights: int
    excluded: int
    left_out: Mapping[str, str]
    explicit: bool = False

    @property
    def share(self) -> float:
        """Share of the weights that is in nodes, between 0 and 1."""
        return self.covered / self.weights if self.weights else 0.0

    @property
    def warning(self) -> str:
        """What is missing, where less than nine tenths are in nodes and nobody chose that; else ""."""
        if self.explicit or self.covered + self.excluded >= ENOUGH * self.weights:
            return ""
        return (
            f"only {_percent(self.share)} of the weights are in nodes; left out: {'; '.join(self.reasons())}"
        )

    def reasons(self, named: int = 3) -> list[str]:
        """Say each reason once, after the names of what is left out for it; of many, the first and their number."""
        told = by_reason(self.left_out.items())
        return [f"{some_names(names, named)} ({reason})" for reason, names in told]

    def __str__(self) -> str:
        text = f"{_percent(self.share)} of the weights are in nodes: {self.covered:,} of {self.weights:,} entries"
        return text + (f", {self.excluded:,} left out as asked" if self.excluded else "")


def coverage(model: nn.Module, targets: Targets = "all-linear", exclude: Targets | None = None) -> Coverage:
    """Say how much of a model is in the nodes of `node_tables`, and what is left out for which reason.

    Parameters
    ----------
    model, targets, exclude : as in `node_tables`
        Which layers of what.

    Returns
    -------
    Coverage
        Its `share` between 0 and 1, `left_out` by name with reasons, and a `warning` below nine tenths.

    Raises
    ------
    TypeError
        As `node_tables`.
    ValueError
        As `node_tables`.

    Examples
    --------
    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Embedding(10, 4), torch.nn.Linear(4, 3), torch.nn.Conv1d(3, 4, 1))
    >>> found = coverage(model)
    >>> print(found)
    50% of the weights are in nodes: 12 of 24 entries
    >>> found.warning
    'only 50% of the weights are in nodes; left out: 2.weight (of Conv1d, which is no linear layer)'
    """
    found = chosen_layers(model, targets, exclude)
    covered = sum(prod(layer.shape) for layer in each_weight_once(found.matched.values()))
    return Coverage(
        covered=covered,
        weights=covered + found.others + sum(left.entries for left in found.left_out.values()),
        excluded=found.others,
        left_out={name: left.reason for name, left in found.left_out.items()},
        explicit=not (isinstance(targets, str) and targets.lower() == "all-linear"),
    )


def _percent(share: float) -> str:
    # Rounded down: what is left out is never told as 100%.
    return f"{int(share * 1000) / 10:g}%"
