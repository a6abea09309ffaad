"""Make a study's folder or take it up again, alone, and with a plan under which its records are still what they say."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from spectral_opt.study import (
    STATES,
    Hypothesis,
    StudyPlan,
    plan_content,
    read_hypotheses,
    read_records,
    save_plan,
    stored_plan,
)

LOCK, OWNER = ".lock", ".pid"


def begin_study(folder: Path, plan: StudyPlan | None) -> tuple[StudyPlan, list[str]]:
    """Give the plan of a study's folder and what has changed in it; with a plan the folder is made or brought up to it.

    Parts, methods, seeds and hypotheses may come. ValueError where there is no study and no plan, where records would
    be foreign under the new plan or of other settings, and where it reads a hypothesis otherwise, or has it no more,
    once anything is recorded that confirms or refutes: it says how many, and what differs.
    """
    old = stored_plan(folder)
    if old is None or plan is None or plan == old:
        chosen = old or plan
        if chosen is None:
            raise ValueError(f"no study in {folder}: name its plan with --preset, a preset or a YAML file")
        if old is None:
            save_plan(folder, chosen)
        return chosen, []
    changes = list(_changes("", _named(plan_content(old)), _named(plan_content(plan))))
    before, after = (read_records(folder, one).records for one in (old, plan))
    lost = [key for key in before if key not in after]
    told = "; ".join(text for _, text in changes)
    if lost:
        raise ValueError(
            f"{folder} holds another study: {len(lost)} of its {len(before)} records would be foreign to this plan, or "
            f"of other settings. What differs: {told}. Name another folder, or take that back"
        )
    if any(record.stage == "confirmation" for record in before.values()):
        # As they are read: what is left out is what it is by default.
        asked = [_claimed(one) for one in read_hypotheses(plan)]
        changed = [one.id for one in read_hypotheses(old) if _claimed(one) not in asked]
        if changed:
            said = [text for path, text in changes if path.startswith("hypotheses")] or [", ".join(changed)]
            raise ValueError(
                f"{folder} has records that confirm or refute what this plan changes: {'; '.join(said)}. Name another "
                "folder, or take that back"
            )
    save_plan(folder, plan)
    return plan, [text for _, text in changes]


def _claimed(hypothesis: Hypothesis) -> Hypothesis:
    """Give a hypothesis without the names and methods of its parts, which change as methods come beside its own."""
    claims = (
        replace(one, part=replace(one.part, methods=(), after=()), names={}) for one in hypothesis.claims
    )
    return replace(hypothesis, claims=tuple(claims))


@contextmanager
def locked(folder: Path) -> Iterator[str]:
    """Keep every other run out of a study's folder; ValueError names the process that has it.

    A lock whose process has died is the system's no more: it is taken over, and the name of that process given.
    """
    from filelock import FileLock, Timeout

    (folder / STATES).mkdir(parents=True, exist_ok=True)  # whose content is not committed
    owner = folder / STATES / OWNER
    # The system lets go of it with the process, however that ends.
    lock = FileLock(folder / STATES / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise ValueError(
            f"another run is at work in {folder}: process {_owner(owner)}; wait for it, or end it"
        ) from None
    try:
        left = _owner(owner) if owner.exists() else ""
        owner.write_text(f"{os.getpid()}\n", encoding="utf-8")
        for unfinished in folder.rglob(".*.part"):  # of a process that was killed as it wrote
            unfinished.unlink(missing_ok=True)
        yield left
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


def _owner(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip() or "unknown"
    except (OSError, UnicodeDecodeError):
        return "unknown"


def _named(content: Mapping[str, Any]) -> dict[str, Any]:
    """Give parts, methods, filters and hypotheses names in place of numbers, so that one more moves no other."""
    named: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, list) and value and all(isinstance(one, Mapping) for one in value):
            rows: dict[str, Any] = {}
            for one in value:
                name = str(one.get("name", one.get("id", "")))
                same = sum(other.partition("#")[0] == name for other in rows)
                rows[f"{name}#{same + 1}" if same or not name else name] = _named(one)
            named[key] = rows
        elif isinstance(value, Mapping):
            named[key] = _named(value)
        elif not (isinstance(value, list) and not value):  # no list and an empty one are alike
            named[key] = value
    return named


def _changes(path: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield where two plans differ, and what to say of it."""
    for key in [*old, *(key for key in new if key not in old)]:
        here = f"{path}.{key}" if path else key
        first, second = old.get(key), new.get(key)
        if first == second:
            continue
        if isinstance(first, Mapping) and isinstance(second, Mapping):
            yield from _changes(here, first, second)
        elif isinstance(first, list) and isinstance(second, list):
            came = [one for one in second if one not in first]
            gone = [one for one in first if one not in second]
            told = [f"{', '.join(map(str, came))} added"] * bool(came)
            told += [f"{', '.join(map(str, gone))} gone"] * bool(gone)
            yield here, f"{here}: {' and '.join(told) or 'another order'}"
        elif key not in old:
            yield here, f"{here} added"
        elif key not in new:
            yield here, f"{here} gone"
        else:
            yield here, f"{here}: {first} before, {second} now"
