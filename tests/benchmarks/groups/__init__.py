"""Groups of contests: a file each, whose docstring says what it is about and whose `contests(profile)` yields them."""

import importlib
from collections.abc import Iterator
from pathlib import Path

from benchmarks.contest import Contest, Profile


def group_names() -> list[str]:
    """List the groups, by their files."""
    return sorted(file.stem for file in Path(__file__).parent.glob("[!_]*.py"))


def contests_of(name: str, profile: Profile) -> Iterator[Contest]:
    """Give the contests of a group, each made when its turn comes."""
    found: Iterator[Contest] = importlib.import_module(f"{__name__}.{name}").contests(profile)
    return found


def about(name: str) -> str:
    """Give the first line of a group's docstring."""
    return (importlib.import_module(f"{__name__}.{name}").__doc__ or "").strip().splitlines()[0]
