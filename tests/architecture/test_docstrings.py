"""What the packages export at the top is documented in full (numpydoc); a room's doors say what they do."""

import importlib
import inspect
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from numpydoc.validate import ERROR_MSGS, validate

ROOT = Path(__file__).parents[2]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["numpydoc_validation"]
CHECKED = set(ERROR_MSGS) - set(SETTINGS["checks"])
PACKAGES = ("paramgraph", "spectral_opt")
ROOMS = sorted(
    ".".join(face.parent.relative_to(ROOT).parts)
    for package in PACKAGES
    for face in (ROOT / package).rglob("__init__.py")
)


TOP = [f"{package}.{name}" for package in PACKAGES for name in importlib.import_module(package).__all__]


def with_methods(name: str) -> Iterator[str]:
    """Yield a name at the top, and the methods and properties that its class defines."""
    yield name
    package, _, short = name.rpartition(".")
    found = getattr(importlib.import_module(package), short)
    for key, value in vars(found).items() if inspect.isclass(found) else ():
        if not key.startswith("_") and (inspect.isroutine(value) or isinstance(value, property)):
            yield f"{name}.{key}"


@pytest.mark.parametrize("name", TOP)
def test_what_is_exported_at_the_top_has_a_full_docstring(name: str) -> None:
    errors = {one: validate(one)["errors"] for one in with_methods(name)}
    found = [
        f"{one} {code}: {text}" for one, all_of in errors.items() for code, text in all_of if code in CHECKED
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("room", ROOMS)
def test_every_door_says_what_it_does(room: str) -> None:
    face = importlib.import_module(room)
    doors = {name: getattr(face, name) for name in getattr(face, "__all__", ())}
    ours = {name: door for name, door in doors.items() if inspect.isroutine(door) or inspect.isclass(door)}
    assert not [name for name, door in ours.items() if not (door.__doc__ or "").strip()]


@pytest.mark.parametrize("room", [room for room in ROOMS if room not in PACKAGES])
def test_a_face_names_its_doors(room: str) -> None:
    face = importlib.import_module(room)
    assert not [name for name in getattr(face, "__all__", ()) if f"`{name}`" not in (face.__doc__ or "")]
