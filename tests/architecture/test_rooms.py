"""The rules of the house that an import graph can hold: `.github/CONTRIBUTING.md` says them in words."""

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(file for package in ("paramgraph", "spectral_opt") for file in (ROOT / package).rglob("*.py"))
ROOMS = sorted(".".join(file.parent.relative_to(ROOT).parts) for file in FILES if file.name == "__init__.py")


def imported(file: Path) -> Iterator[str]:
    """Yield the modules of ours that a file imports, at its top or anywhere below."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        yield from (name for name in names if name.split(".")[0] in ("paramgraph", "spectral_opt"))


def room_of(module: str) -> str:
    """Give the folder in which a module stands; a room stands in itself."""
    return module if module in ROOMS else module.rpartition(".")[0]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_other_rooms_are_entered_by_their_door(file: Path) -> None:
    own = ".".join(file.parent.relative_to(ROOT).parts)
    halls = ("paramgraph", "spectral_opt")  # their files belong to no room, and are imported by name
    through_the_wall = [
        module for module in imported(file) if module not in ROOMS and room_of(module) not in (own, *halls)
    ]
    if file.name != "__init__.py":  # a face may show what a room inside it has
        assert not through_the_wall, f"import from the room: {', '.join(map(room_of, through_the_wall))}"


@pytest.mark.parametrize("room", ROOMS)
def test_no_name_of_a_room_is_also_a_file_of_it(room: str) -> None:
    face = importlib.import_module(room)
    inside = {file.stem for file in (ROOT / room.replace(".", "/")).iterdir()}
    assert not inside & set(getattr(face, "__all__", ()))


@pytest.mark.parametrize("room", ROOMS)
def test_every_door_opens(room: str) -> None:
    face = importlib.import_module(room)
    assert all(getattr(face, name) is not None for name in getattr(face, "__all__", ()))
