"""The checks of types that the suite adds, and how a test goes without them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
from beartype import BeartypeConf, FrozenDict, beartype

# What the signatures of both packages mean, and what type checkers read there: an `int` is one of Python or of NumPy,
# and a `float` any real number. Beartype by itself takes 1 for no float, and an int64 for no int.
_NUMBERS = FrozenDict({int: int | np.integer, float: float | int | np.floating | np.integer})
_decorate: Any = beartype(conf=BeartypeConf(hint_overrides=_NUMBERS))


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """Check the annotations of a function at each call."""
    decorated: Callable[..., Any] = _decorate(function)
    return decorated


@contextmanager
def unchecked() -> Iterator[None]:
    """Call without checks of annotations, as a user does: to see what our own check says of a wrong type."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", before)


def check_shapes(*packages: Path) -> None:
    """Check at each call the annotations of the modules that tell shapes, before any of them is imported.

    In the others mypy has read them already, and a check at each of a million small calls takes a third of the suite.
    """
    modules = [
        ".".join(file.relative_to(package.parent).with_suffix("").parts)
        for package in packages
        for file in sorted(package.rglob("*.py"))
        if "from jaxtyping import" in file.read_text(encoding="utf-8")
    ]
    jaxtyping.install_import_hook(modules, f"{__name__}.{checked.__name__}")
