"""Public names that are imported when they are first used.

Both packages import torch, PyG and transformers below the surface; a user who asks for `--help` or for one
builder must not wait for all of them. A package lists its public names once, as imports under
`if TYPE_CHECKING`, where editors and type checkers read them too.
"""

import ast
import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any


def typed_imports(package: str, file: str) -> dict[str, list[str]]:
    """List the names that `file` imports from modules of `package` under `if TYPE_CHECKING` (module: names)."""
    homes: dict[str, list[str]] = {}
    for block in ast.parse(Path(file).read_text(encoding="utf-8")).body:
        if (
            isinstance(block, ast.If)
            and isinstance(block.test, ast.Name)
            and block.test.id == "TYPE_CHECKING"
        ):
            for statement in block.body:
                if isinstance(statement, ast.ImportFrom) and statement.module:
                    module = statement.module.removeprefix(f"{package}.")
                    homes.setdefault(module, []).extend(alias.name for alias in statement.names)
    return homes


def lazy_exports(
    package: str, homes: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Make `__getattr__` and `__dir__` of a package whose public names live in `homes` (module: names)."""
    home_of = {name: module for module, names in homes.items() for name in names}

    def get(name: str) -> Any:
        if name not in home_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{home_of[name]}"), name)

    def names() -> list[str]:
        return sorted(home_of)

    return get, names
