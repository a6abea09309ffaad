"""Tables that have no features: left out of a measurement and told with their reason, so that the others go on."""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch.utils.checkpoint import CheckpointError

from paramgraph.nodes import NodeTable
from paramgraph.sources._expert_products import matrix_key

# (group, reason): told once of each table that has no features.
OnFailure = Callable[[str, str], None]
# What one layer or table may raise of its own. Checkpointing ends a recomputation by an exception of another kind.
_OWN = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


class ModelError(ValueError):
    """What is wrong with the model as a whole, though one layer shows it: it is raised, whoever is told of failures."""


_OF_ALL = (torch.OutOfMemoryError, CheckpointError, ModelError)
# On the CPU a lack of memory is a RuntimeError that is known by its text alone (torch 2.13.0).
_NO_MEMORY = "DefaultCPUAllocator: can't allocate memory"


class Failures:
    """Which tables of a measurement have failed, and why.

    Without `on_failure` the first failure is raised. What concerns all tables (the loss, the model itself, no batches)
    is never given to this.

    >>> from paramgraph import rows
    >>> tables = rows(torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 2)))
    >>> failures = Failures(tables, lambda group, reason: print(group, reason))
    >>> with failures.of_layer("0.weight"):
    ...     raise ValueError("is not finite")
    0.weight is not finite
    >>> list(failures.remaining(tables))
    ['1.weight']
    """

    def __init__(self, tables: Mapping[str, NodeTable], on_failure: OnFailure | None = None) -> None:
        self.reasons: dict[str, str] = {}
        self._on_failure = on_failure
        self._layers: set[str] = set()
        self._users: dict[str, list[str]] = {}
        for group, table in tables.items():
            # A stack is read as one parameter, and its experts are layers of their own.
            for name in {name for part in table.slices for name in (part.parameter, matrix_key(part))}:
                self._users.setdefault(name, []).append(group)

    def table(self, group: str, error: Exception) -> None:
        """Leave a table out, or raise the error where nobody is told."""
        if self._on_failure is None:
            raise error
        if group not in self.reasons:
            # A KeyError prints the repr of its message.
            self.reasons[group] = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
            self._on_failure(group, self.reasons[group])

    def layer(self, parameter: str, error: Exception) -> None:
        """Leave out every table that has a part of a parameter."""
        if self._on_failure is None:
            raise error
        self._layers.add(parameter)
        for group in self._users.get(parameter, ()):
            self.table(group, error)

    def has_layer(self, parameter: str) -> bool:
        """Say whether nothing of a parameter is wanted any more: its layer or all its tables have failed."""
        users = self._users.get(parameter)
        return parameter in self._layers or (users is not None and all(one in self.reasons for one in users))

    @contextmanager
    def of_table(self, group: str) -> Iterator[None]:
        """Take an error inside as that of a table."""
        with _own_error(lambda error: self.table(group, error)):
            yield

    @contextmanager
    def of_layer(self, parameter: str) -> Iterator[None]:
        """Take an error inside as that of the layer of a parameter."""
        with _own_error(lambda error: self.layer(parameter, error)):
            yield

    def remaining(self, tables: Mapping[str, NodeTable]) -> dict[str, NodeTable]:
        """Leave out the tables that have failed."""
        return {group: table for group, table in tables.items() if group not in self.reasons}

    def check_called(self, parameters: Collection[str], called: Collection[str]) -> None:
        """Leave out, or refuse all together, the tables of layers that did not run."""
        idle = [name for name in parameters if name not in called and not self.has_layer(name)]
        if idle and self._on_failure is None:
            raise ValueError(
                f"the layers of {idle} were never called, so they have no gradients or activations: leave them "
                "out with exclude=[...] (a layer whose weight is read without calling it cannot be measured)"
            )
        for name in idle:
            reason = f"the layer of {name!r} was never called (its weight may be read without calling it)"
            if name.endswith("]"):
                reason = f"no token of these batches was routed to the expert {name!r}"
                stack = name[: name.rindex("[") + 1]
                if not any(one.startswith(stack) for one in called):
                    reason += ", or its module multiplies with it unseen (linear, matmul and bmm are seen)"
            self.layer(name, ValueError(reason))


@contextmanager
def _own_error(take: Callable[[Exception], None]) -> Iterator[None]:
    """Give an error inside away, but for one that would be any other table's as well."""
    try:
        yield
    except _OF_ALL:
        raise
    except _OWN as error:
        if _NO_MEMORY in str(error):
            raise
        take(error)
