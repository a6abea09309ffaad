"""The folder of a run: what began there, which checkpoints are whole, and what another run may not touch."""

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from paramgraph.checkpoints import check_outside, existing_path
from paramgraph.whole_files import check_can_write, write_text

RECORD, CHECKPOINTS, WHOLE, LOCK = "run.json", "checkpoints", "whole.json", ".lock"
# What is written at the end before it takes its place; a killed run leaves it.
STAGED = ".unfinished"
# transformers' names.
CHECKPOINT = re.compile(r"checkpoint-(\d+)")
STATE = "trainer_state.json"


def read_run(out: Path) -> dict[str, Any] | None:
    """Read the record in a folder; None where a run has yet to begin there, ValueError where it is another's."""
    if not out.exists():
        return None
    if not out.is_dir():
        raise ValueError(f"{out} is a file: name a folder with --out")
    inside = sorted(entry.name for entry in out.iterdir() if not _is_left_over(entry))
    if not inside:
        return None
    try:
        found = json.loads((out / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not {"status", "options", "identity"} <= set(found):
        raise ValueError(
            f"{out} is not empty and holds no run of finetune ({', '.join(inside[:4])}): name another folder with --out"
        )
    return found


def run_taken_up(out: Path, options: Mapping[str, Any]) -> dict[str, Any] | None:
    """Read the record of the run that goes on in a folder; None where it begins anew.

    ValueError where the folder is the model's or lies in one of texts, holds something else or a run with other
    options, or cannot be written.
    """
    model = existing_path(str(options["model"]))
    if model is not None and out.exists() and out.samefile(model):
        raise ValueError(f"{out} holds the model that is tuned: name another folder with --out")
    check_outside(out, (options["data"], options["evaluate_on"], options["preserve"]))
    known = read_run(out)
    if known is not None and known["status"] != "finished" and not whole_checkpoints(out):
        known = None  # it had begun, and nothing is lost of it
    if known is not None:
        check_same(out, "options", known["options"], options)
        if not all((out / name).exists() for name in known.get("files", ())):
            known = {**known, "status": "running"}  # some of its model is gone: it is written anew
    check_can_write(out)
    return known


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Keep every other run out of a folder; ValueError where one is at work there."""
    from filelock import FileLock, Timeout

    out.mkdir(parents=True, exist_ok=True)
    # The system lets go of it with the process, however that ends.
    lock = FileLock(out / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise ValueError(
            f"another run is at work in {out}: wait for it, end it, or name another folder with --out"
        ) from None
    try:
        yield
    finally:
        with suppress(OSError):  # an open file stays on some systems
            (out / LOCK).unlink()
        lock.release()


def check_identity(out: Path, known: Mapping[str, Any] | None, found: Mapping[str, str]) -> None:
    """Refuse to go on where texts, weights or configs, as far as they are found by now, are others."""
    if known is not None:
        there = {name: known["identity"].get(name) for name in found}
        check_same(out, ", ".join(name for name in found if there[name] != found[name]), there, found)


def check_same(out: Path, what: str, there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    """Refuse to go on with a run of other options, or of other texts, weights or configs; a ValueError names them."""
    plain = json.loads(json.dumps(here))
    other = [name for name in {**there, **plain} if there.get(name) != plain.get(name)]
    if other:
        shown = ", ".join(
            f"{name} {_short(there.get(name))} there, {_short(plain.get(name))} here" for name in other[:3]
        )
        raise ValueError(f"{out} holds a run with other {what}: {shown}; name another folder with --out")


def mark_whole(checkpoint: Path) -> None:
    """Write down the files of a finished checkpoint, last of all: without that it does not count."""
    sizes = {
        file.relative_to(checkpoint).as_posix(): file.stat().st_size
        for file in sorted(checkpoint.rglob("*"))
        if file.is_file() and file.name != WHOLE
    }
    write_text(checkpoint / WHOLE, json.dumps(sizes, indent=1) + "\n")


def whole_checkpoints(out: Path) -> list[Path]:
    """List the checkpoints that were written to their end, in the order of their steps."""
    return sorted((path for path in _checkpoints(out) if _is_whole(path)), key=step_of)


def remove_unfinished(out: Path) -> list[str]:
    """Remove what a run left that was killed, or had no room, while it wrote; return the names."""
    left = [path for path in _checkpoints(out) if not _is_whole(path)]
    left += [out / STAGED] if (out / STAGED).exists() else []
    for path in left:
        shutil.rmtree(path, ignore_errors=True)
    return [path.name for path in left]


def step_of(checkpoint: Path) -> int:
    """Read the step of a checkpoint off its name."""
    found = CHECKPOINT.fullmatch(checkpoint.name)
    assert found is not None, "named by transformers"
    return int(found[1])


def stopped_early(checkpoint: Path, patience: int | None) -> bool:
    """Say whether the run had used up its patience when it wrote this checkpoint."""
    if patience is None:
        return False
    state = json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
    found = state.get("stateful_callbacks", {}).get("EarlyStoppingCallback", {})
    return int(found.get("attributes", {}).get("early_stopping_patience_counter", 0)) >= patience


def _is_left_over(entry: Path) -> bool:
    """Say whether a run left this that ended before its record was there, or another rank has made it just now."""
    if entry.name == CHECKPOINTS:
        return entry.is_dir() and not any(entry.iterdir())
    return entry.name == LOCK or (entry.name.startswith(".") and entry.suffix == ".part")


def _checkpoints(out: Path) -> list[Path]:
    folder = out / CHECKPOINTS
    return [path for path in folder.iterdir() if CHECKPOINT.fullmatch(path.name)] if folder.is_dir() else []


def _is_whole(checkpoint: Path) -> bool:
    try:
        sizes = json.loads((checkpoint / WHOLE).read_text(encoding="utf-8"))
        return all((checkpoint / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, AttributeError):
        return False


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
