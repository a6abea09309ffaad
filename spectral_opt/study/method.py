"""What a fine-tuning method is, and the list of them."""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from paramgraph.errors import UnknownNameError
from spectral_opt.config import SpectralConfig
from spectral_opt.study import methods


@dataclass(frozen=True)
class Method:
    """A way to fine-tune: AdamW with `configs` attached to it, none for the plain optimizer.

    `null_of` is the method whose control this is: the same, on a graph with permuted nodes.
    """

    name: str
    title: str
    description: str
    configs: tuple[SpectralConfig, ...] = ()
    null_of: str | None = None

    def permuted_null(self) -> "Method":
        """Return the control: the same graph, spectrum and strength, with the nodes permuted."""
        configs = tuple(
            replace(
                config,
                builder="permuted",
                builder_options={"builder": _inner(config), "seed": config.seed},
            )
            for config in self.configs
        )
        return Method(
            name=f"{self.name}_permuted",
            title=f"{self.title}, nodes permuted",
            description=f"The null of {self.title}: the same graph, attached to the wrong nodes.",
            configs=configs,
            null_of=self.name,
        )


def _inner(config: SpectralConfig) -> str | Callable[..., Any] | None:
    # A name keeps the configuration serializable; options need the builder itself.
    return config.make_builder() if config.builder_options else config.builder


def list_methods() -> list[str]:
    """Return the names of the methods, sorted."""
    return sorted(info.name for info in pkgutil.iter_modules(methods.__path__))


def get_method(name: str) -> Method:
    """Return the `METHOD` of the file called `name`; UnknownNameError has near names where there is none.

    >>> get_method("adamw").title
    'AdamW'
    """
    if name not in list_methods():
        raise UnknownNameError.among("method", name, list_methods())
    method: Method = importlib.import_module(f"{methods.__name__}.{name}").METHOD
    return method
