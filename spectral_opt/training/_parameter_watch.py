"""See, before each step, that model and optimizer still hold the parameters that a handle was attached to."""

from collections.abc import Iterable

from torch import nn
from torch.optim import Optimizer

from spectral_opt.training.bound_table import BoundTable

_ADVICE = (
    "call remove() on this handle, and attach anew once model and optimizer are as they shall be trained"
)


class ParameterWatch:
    """Compare parameters with what they were at `attach`.

    A parameter that was replaced has no gradient any more, and a filter of it would silently do nothing; one that was
    moved no longer fits the copy of its start.

    Parameters
    ----------
    model : nn.Module
        The bare model.
    tables : iterable of BoundTable
        All tables of a handle.

    Examples
    --------
    >>> import torch
    >>> layer = nn.Linear(2, 2)
    >>> ParameterWatch(layer, []).check(torch.optim.SGD(layer.parameters(), lr=0.1))
    """

    def __init__(self, model: nn.Module, tables: Iterable[BoundTable]) -> None:
        tables = list(tables)
        self._stepped = {name: p for table in tables for name, p in table.parameters.items()}
        watched = self._stepped | {name: p for table in tables for name, p in table.touched.items()}
        self._watched = [(name, p, p.device, p.dtype, *_place(model, name)) for name, p in watched.items()]

    def check(self, optimizer: Optimizer) -> None:
        """Raise where a parameter is no longer what it was; some microseconds per parameter.

        Parameters
        ----------
        optimizer : torch.optim.Optimizer
            About to step.

        Raises
        ------
        ValueError
            If a parameter was moved to another device or dtype, replaced in the model, or taken out of the optimizer.
            Nothing was changed in this step.
        """
        held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        for name, parameter, device, dtype, owner, attribute in self._watched:
            if parameter.device != device or parameter.dtype != dtype:
                raise ValueError(
                    f"parameter {name!r} was {dtype} on {device} at attach and is {parameter.dtype} on "
                    f"{parameter.device} now; {_ADVICE}"
                )
            # FSDP2 swaps the parameters of a module itself, around each forward pass.
            if type(parameter) is nn.Parameter and owner._parameters.get(attribute) is not parameter:
                raise ValueError(
                    f"parameter {name!r} of the model was replaced after attach, so what this optimizer trains is no "
                    f"part of the model; {_ADVICE}"
                )
            if name in self._stepped and id(parameter) not in held:
                raise ValueError(f"the optimizer no longer holds parameter {name!r}; {_ADVICE}")


def _place(model: nn.Module, name: str) -> tuple[nn.Module, str]:
    path, _, attribute = name.rpartition(".")
    return model.get_submodule(path), attribute
