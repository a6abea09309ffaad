"""Notice that other adapters have been made active than those that a handle was attached to."""

import warnings
from collections.abc import Iterable
from typing import Any

from torch import nn

from paramgraph.errors import users_level
from spectral_opt.preparation import FactorTable
from spectral_opt.training.bound_table import BoundTable


class AdapterWatch:
    """Warn once where `set_adapter` came after `attach`: the factors of the newly active one have no tables.

    What is attached is acted on while it is trained, that is while its parameters have gradients.
    """

    def __init__(self, model: nn.Module, tables: Iterable[BoundTable]) -> None:
        names = {
            table.prepared.table.layer_name: None
            for table in tables
            if isinstance(table.prepared.table, FactorTable) and table.prepared.table.adapter
        }
        # PEFT's layers have no type where it is not installed.
        self._layers: dict[str, Any] = {name: model.get_submodule(name) for name in names}
        self._active = {name: _active(layer) for name, layer in self._layers.items()}
        self._is_told = False

    def check(self) -> None:
        """Compare the active adapters of each layer with those at attach; microseconds per layer."""
        for name, layer in self._layers.items():
            now, then = _active(layer), self._active[name]
            if now == then:
                continue
            if not self._is_told:
                self._is_told = True
                warnings.warn(
                    f"the active adapters of {name!r} were {', '.join(then) or 'none'} at attach and are "
                    f"{', '.join(now) or 'none'} now: what was not active then has neither filter nor penalty, and "
                    "what is attached is acted on only while it is trained. After set_adapter remove() the handle and "
                    "attach anew",
                    UserWarning,
                    stacklevel=users_level(),
                )
            return
        self._is_told = False


def _active(layer: Any) -> tuple[str, ...]:
    return tuple(layer.active_adapters)
