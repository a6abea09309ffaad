"""Print the tests of the rooms that a change touches, for `make check`: `python -m helpers.touched BASE`, in tests/."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path, PurePath

ROOT = Path(__file__).parents[2]


def changed(base: str) -> set[PurePath]:
    """List the files that differ from `base`, committed or not, and those that git does not know yet."""
    asked = (["diff", "--name-only", "--relative", base], ["ls-files", "--others", "--exclude-standard"])
    found = [
        subprocess.run(["git", *words], capture_output=True, text=True, check=True, cwd=ROOT)
        for words in asked
    ]
    return {PurePath(line) for done in found for line in done.stdout.splitlines()}


def tests_of(file: PurePath) -> Iterator[Path]:
    """Yield where a changed file is tested: a room's folder of tests and its own doctests, or the test file itself."""
    package, *rest = file.parts
    if package in ("paramgraph", "spectral_opt") and file.suffix == ".py":
        place = Path(package, *rest[:1])
        yield ROOT / place
        yield ROOT / "tests" / place if len(rest) > 1 else ROOT / "tests" / package / f"test_{rest[0]}"
    elif file.name.startswith("test_"):
        yield ROOT / file
    elif file.name == "conftest.py" and len(rest) > 1:
        yield ROOT / file.parent


if __name__ == "__main__":
    print(
        *sorted({str(place) for file in changed(sys.argv[1]) for place in tests_of(file) if place.exists()})
    )
