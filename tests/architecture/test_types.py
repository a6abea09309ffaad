"""What type checkers tell a user of the packages: `py.typed` is a promise, and two checkers read one client."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FACES = sorted(
    face for package in ("paramgraph", "spectral_opt") for face in (ROOT / package).rglob("__init__.py")
)
CLIENT = Path(__file__).with_name("typed_client.py")


def checked(*command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


def mypy_lines() -> Iterator[int]:
    for line in checked("mypy", "--strict", "--output", "json", str(CLIENT)).splitlines():
        found = json.loads(line)
        if found["severity"] == "error" and Path(found["file"]).name == CLIENT.name:
            yield found["line"]


def pyright_lines() -> Iterator[int]:
    report = checked("pyright", "--pythonpath", sys.executable, "--outputjson", str(CLIENT))
    for found in json.loads(report)["generalDiagnostics"]:
        if found["severity"] == "error":
            yield found["range"]["start"]["line"] + 1


@pytest.mark.parametrize("errors", [mypy_lines, pyright_lines])
def test_a_typed_client_has_the_types_it_names_and_is_told_of_wrong_ones(errors) -> None:
    lines = CLIENT.read_text(encoding="utf-8").splitlines()
    wrong = {number for number, line in enumerate(lines, start=1) if "# expect:" in line}
    assert set(errors()) == wrong


@pytest.mark.parametrize("face", FACES, ids=lambda face: str(face.parent.relative_to(ROOT)))
def test_no_face_shows_type_checkers_a_getattr_which_would_make_every_name_right(face: Path) -> None:
    seen = [
        statement
        for block in ast.parse(face.read_text(encoding="utf-8")).body
        if not (isinstance(block, ast.If) and ast.unparse(block.test) == "not TYPE_CHECKING")
        for statement in ast.walk(block)
    ]
    assert not [one for one in seen if isinstance(one, ast.Name) and one.id == "__getattr__"]
