"""Every load by transformers says whether the model's own code may run: left out, it is asked for on the terminal."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOADS = ("from_pretrained", "from_config")


def loads(file: Path) -> list[ast.Call]:
    return [
        node
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LOADS
    ]


FILES = [
    file
    for package in ("paramgraph", "spectral_opt")
    for file in (ROOT / package).rglob("*.py")
    if loads(file)
]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_load_says_whether_code_may_run(file: Path) -> None:
    silent = [
        call.lineno
        for call in loads(file)
        # `**options` hands on what the caller was told.
        if not {"trust_remote_code", None} & {keyword.arg for keyword in call.keywords}
    ]
    assert not silent, f"trust_remote_code is missing in lines {silent}"
