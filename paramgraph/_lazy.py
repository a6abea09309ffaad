"""Public names that are imported when they are first used.

Both packages import torch, PyG and transformers below the surface; a user who asks for `--help` or for one
builder must not wait for all of them. A package, and each of its rooms, lists its names once, as imports under
`if TYPE_CHECKING`, where editors and type checkers read them too. (lazy-loader does the same with a stub beside each
`__init__`: two files for one page, and one more package to install.) What is made here is hidden from them: of a
module with a `__getattr__` they would take every name, also a wrong one.
"""

import ast
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any


def lazy_names(package: str, file: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Make `__getattr__`, `__dir__` and `__all__` of a package from the imports that type checkers read in `file`."""
    home_of = {
        alias.name: statement.module
        for block in ast.parse(Path(file).read_text(encoding="utf-8")).body
        if isinstance(block, ast.If) and isinstance(block.test, ast.Name) and block.test.id == "TYPE_CHECKING"
        for statement in block.body
        if isinstance(statement, ast.ImportFrom) and statement.module
        for alias in statement.names
    }

    def get(name: str) -> Any:
        if name not in home_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(home_of[name]), name)

    def names() -> list[str]:
        return sorted(home_of)

    return get, names, names()
