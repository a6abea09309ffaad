import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_public_docstrings_follow_numpydoc():
    files = [
        str(path)
        for package in ("paramgraph", "spectral_opt")
        for path in sorted((ROOT / package).rglob("*.py"))
    ]
    checked = subprocess.run(
        [sys.executable, "-m", "numpydoc.hooks.validate_docstrings", "--config", str(ROOT), *files],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
