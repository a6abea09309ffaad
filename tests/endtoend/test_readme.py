"""The README's code runs as it stands, and all that it names is there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SETTINGS = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def test_the_first_example_runs_as_it_stands():
    shown = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", BLOCKS[0]],
        capture_output=True,
        text=True,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    assert "tensor(" in shown.stdout
    # What it found, and stands below the code.
    assert shown.stdout.splitlines()[0] in " ".join(README.replace("\n>", "").split())


def test_the_refinement_example_runs_on_two_models():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        base, tuned = (torch.nn.Sequential(torch.nn.Linear(6, 12), torch.nn.Linear(12, 8)) for _ in range(2))

    class Wrapped(torch.nn.Module):
        def __init__(self, layers):
            super().__init__()
            self.layers = layers

        def forward(self, x):
            return self.layers(x)

    names = {
        "base": Wrapped(base),
        "tuned": Wrapped(tuned),
        "other_text": [{"x": torch.randn(300, 6, generator=torch.Generator().manual_seed(0))}],
    }
    exec("import spectral_opt\n" + BLOCKS[1], names)
    assert set(names["state"]) == set(Wrapped(tuned).state_dict())


def test_every_file_that_it_names_is_there():
    named = re.findall(r"\]\(([^)#:]+)\)", README)
    assert len(named) > 10
    assert not [name for name in named if not (ROOT / name).exists()]


def test_its_pictures_are_addressed_where_the_package_index_finds_them():
    (repository,) = re.findall(r'^Repository = "https://github.com/(.+)"$', SETTINGS, flags=re.MULTILINE)
    assert f'repository-code: "https://github.com/{repository}"' in (ROOT / "CITATION.cff").read_text()
    root = f"https://raw.githubusercontent.com/{repository}/main/"
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README)
    assert pictures
    assert all((ROOT / one.removeprefix(root)).is_file() for one in pictures if one.startswith(root))
    assert all(one.startswith(root) for one in pictures)


def test_it_is_read_in_a_few_minutes():
    assert len(README.splitlines()) <= 130


def test_its_first_example_has_twelve_lines():
    lines = [line for line in BLOCKS[0].splitlines() if line.strip() and not line.startswith("import")]
    assert len(lines) <= 12


@pytest.mark.parametrize("command", ["make demo", "make test"])
def test_both_commands_are_named(command):
    assert command in README
