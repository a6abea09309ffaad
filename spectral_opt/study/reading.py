"""A study's plan as YAML, both ways: read strictly, so that a misspelt word or a number too many is said, and where."""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, asdict, fields
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from paramgraph._checks import is_number, is_whole
from paramgraph.checkpoints import existing_path
from paramgraph.errors import UnknownNameError
from paramgraph.whole_files import write_text
from spectral_opt.config import read_yaml, yaml_text
from spectral_opt.study.hypotheses import check_hypotheses
from spectral_opt.study.method import (
    AfterTraining,
    Method,
    check_values,
    chosen_options,
    get_after_training,
    get_method,
)
from spectral_opt.study.plan import TASKS, AfterGrid, MethodGrid, Part, StudyPlan, Task, Value
from spectral_opt.study.records import CLASSIFICATION, Stage
from spectral_opt.study.store import STATES

PLAN = "study.yaml"
T = TypeVar("T")
# A name becomes a part of a file's name and of a cell's key, which "/" and "," cut.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
# The smallest whole number where it is not 1.
LOWEST = {"seeds": 0, "evaluate_every": 0, "length": 2}  # a block of one token predicts nothing
MAY_BE_EMPTY = ("probes", "keep_states", "after", "after_factors", "hypotheses")


def list_presets() -> list[str]:
    """Return the names of the plans that come with the package."""
    return sorted(file.name.removesuffix(".yaml") for file in _presets() if file.name.endswith(".yaml"))


def read_plan(source: str | Path) -> StudyPlan:
    """Read a plan from a YAML file, or the one that a preset's name stands for.

    ValueError names the place in the file, what is there, and what is allowed: unknown keys, methods, filters, options
    and tasks with near names, wrong types, what is there twice or not at all, seeds that tuning and confirmation share.

    >>> read_plan("quick").parts[0].seeds
    (0, 1, 2)
    """
    name = str(source)
    preset = next((file for file in _presets() if file.name == f"{name}.yaml"), None)
    path = existing_path(source) if preset is None else preset
    if path is None or not path.is_file():
        known = f"the presets are {', '.join(list_presets())}"
        raise ValueError(f"no plan of a study at {name}: {known}; give one of them, or a YAML file")
    text = _text_of(path)
    return plan_from_text(text, name)


def plan_from_text(text: str, name: str = "the plan") -> StudyPlan:
    """Read a plan from YAML, as `read_plan` does; `name` is what errors call it."""
    content = read_yaml(text, name)
    place = _Place(name)
    plan = _plan(place, content)
    _check_whole(place, plan)
    try:
        check_hypotheses(plan)
    except (ValueError, TypeError) as error:
        raise place.wrong(str(error)) from None
    return plan


def plan_text(plan: StudyPlan) -> str:
    """Write a plan as YAML that `plan_from_text` reads as the same plan."""
    return yaml_text(plan_content(plan))


def save_plan(folder: Path, plan: StudyPlan) -> None:
    """Write a study's plan into its folder, and keep tuned weights out of what is committed."""
    (folder / STATES).mkdir(parents=True, exist_ok=True)
    write_text(folder / STATES / ".gitignore", "*\n")
    write_text(folder / PLAN, plan_text(plan))


def stored_plan(folder: str | Path) -> StudyPlan | None:
    """Read the plan of a study's folder; None where no study was begun."""
    path = Path(folder, PLAN)
    return plan_from_text(_text_of(path), str(path)) if path.is_file() else None


def plan_content(plan: StudyPlan) -> dict[str, Any]:
    """Give a plan as the plain values of its YAML."""
    return {
        "title": plan.title,
        "model": plan.model,
        "keep_states": list(plan.keep_states),
        "tasks": {task.name: _task_content(task) for task in plan.tasks},
        "parts": [
            {
                **{
                    name: value
                    for name, value in _listed(vars(part)).items()
                    if name not in ("methods", "after")
                },
                "methods": [_grid(method) for method in part.methods],
                "after": [_grid(after) for after in part.after],
            }
            for part in plan.parts
        ],
        "hypotheses": [dict(one) for one in plan.hypotheses],
    }


class _Place:
    """Where in a plan something stands, for the errors."""

    def __init__(self, path: str) -> None:
        self.path = path

    @property
    def last(self) -> str:
        return self.path.rpartition(": ")[2]

    def at(self, name: str) -> "_Place":
        return _Place(f"{self.path}: {name}")

    def wrong(self, text: str) -> ValueError:
        return ValueError(f"{self.path}: {text}")

    def unknown(self, what: str, name: object, names: Sequence[str]) -> ValueError:
        return UnknownNameError(f"{self.path}: {UnknownNameError.among(what, name, names)}")


def _plan(place: _Place, content: object) -> StudyPlan:
    known = [field.name for field in fields(StudyPlan)]
    given = _mapping(place, content, known, needed=("title", "model", "tasks", "parts"))
    tasks = _mapping(place.at("tasks"), given["tasks"], None)
    return StudyPlan(
        title=_text(place.at("title"), given["title"]),
        model=_text(place.at("model"), given["model"]),
        tasks=tuple(_task(place.at(f"task {name}"), name, task) for name, task in tasks.items()),
        parts=tuple(
            _part(place.at(f"part {number}"), part)
            for number, part in enumerate(_list(place.at("parts"), given["parts"]), start=1)
        ),
        hypotheses=tuple(
            _mapping(place.at(f"hypothesis {number}"), one, None)
            for number, one in enumerate(_list(place.at("hypotheses"), given.get("hypotheses", [])), start=1)
        ),
        keep_states=_texts(place.at("keep_states"), given.get("keep_states", [])),
    )


def _task(place: _Place, name: str, content: object) -> Task:
    _check_name(place, name)
    given: Any = dict(content) if isinstance(content, dict) else content
    kind = given.pop("kind", CLASSIFICATION) if isinstance(given, dict) else CLASSIFICATION
    made = next((task for known, task in TASKS.items() if known == kind), None)
    if made is None:
        raise place.at("kind").unknown("kind of task", kind, list(TASKS))
    _mapping(place, given, [field.name for field in fields(made) if field.name != "name"])
    task: Task = _filled(made, place, {"name": name, **given})
    for first, second in (
        ("calibration", "selection"),
        ("calibration", "held_out"),
        ("selection", "held_out"),
    ):
        shared = _as_set(getattr(task, first)) & _as_set(getattr(task, second))
        if shared:
            raise place.wrong(
                f"{', '.join(sorted(shared))} is in {first} and in {second}: what is preserved, what chooses and what "
                "reports must be three sources"
            )
    return task


def _part(place: _Place, content: object) -> Part:
    given = _mapping(place, content, [field.name for field in fields(Part)])
    name = _text(place.at("name"), given.get("name"))
    _check_name(place, name)
    place = _Place(f"{place.path.rpartition(': ')[0]}: part {name}")
    methods = tuple(
        _grid_of(MethodGrid, place.at(f"methods {number}"), one)
        for number, one in enumerate(_list(place.at("methods"), given.get("methods")), start=1)
    )
    after = tuple(
        _grid_of(AfterGrid, place.at(f"after {number}"), one)
        for number, one in enumerate(_list(place.at("after"), given.get("after", [])), start=1)
    )
    part = _filled(Part, place, {**given, "methods": methods, "after": after})
    for name, factors in (("factors", part.factors), ("after_factors", part.after_factors)):
        if factors and factors[0] != 1:
            raise place.wrong(
                f"{name} is {list(factors)}: 1, the state itself, comes first, and factors of its change after it"
            )
    trained = sorted({method.name for method in part.methods})
    for grid in part.after:
        for of in grid.of:
            if of not in trained:
                raise place.at(f"after {grid.name}, of").unknown("method of this part", of, trained)
            if not get_method(of).trains:
                raise place.wrong(f"after {grid.name}, of: {of} trains nothing that could be filtered")
    return part


G = TypeVar("G", MethodGrid, AfterGrid)


def _grid_of(kind: type[G], place: _Place, content: object) -> G:
    given = _mapping(place, content, None, needed=("name",))
    name = _text(place.at("name"), given["name"])
    try:
        declared: Method | AfterTraining = (
            get_method(name) if kind is MethodGrid else get_after_training(name)
        )
    except UnknownNameError as error:
        raise UnknownNameError(f"{place.path}: {error}") from None
    place = _Place(f"{place.path.rpartition(' ')[0]} {name}")
    own: dict[str, Any] = (
        {"of": _texts(place.at("of"), given["of"])} if kind is AfterGrid and "of" in given else {}
    )
    options = {key: value for key, value in given.items() if key not in ("name", *own)}
    try:
        defaults = chosen_options(dict.fromkeys(options), declared)
    except UnknownNameError as error:
        raise UnknownNameError(f"{place.path}: {error}") from None
    if isinstance(declared, Method) and declared.trains and "learning_rate" not in defaults:
        raise place.wrong("learning_rate is missing, such as learning_rate: [1e-4, 2e-4]")
    read = {
        key: _option(place.at(key), value, declared.options.get(key), key) for key, value in options.items()
    }
    return kind(name, options=read, **own)


def _option(place: _Place, given: object, default: Value, name: str) -> tuple[Value, ...]:
    """Read the values of an option; each is of the default's kind, where there is one."""
    values = _list(place, given) if isinstance(given, list) else [given]
    for value in values:
        if not (value is None or isinstance(value, str | bool | int | float)):
            raise place.wrong(f"{value!r} is neither a number, a word, true, false nor null")
        if isinstance(value, float) and not math.isfinite(value):
            raise place.wrong(f"{value} is no finite number")
        if name == "learning_rate" and not (is_number(value) and value > 0):
            raise place.wrong(f"{value!r} is no positive number")
        for kind, is_kind, word in KINDS:
            if default is not None and kind is type(default) and not is_kind(value):
                raise place.wrong(f"{value!r} is no {word}; the default is {default!r}")
    _check_once(place, values)
    return tuple(values)


# What a value must be where the default is of a type.
KINDS: tuple[tuple[type, Callable[[object], bool], str], ...] = (
    (bool, lambda value: isinstance(value, bool), "true or false"),
    (int, is_whole, "whole number"),
    (float, is_number, "number"),
    (str, lambda value: isinstance(value, str), "word"),
)


def _check_whole(place: _Place, plan: StudyPlan) -> None:
    """Check what parts, tasks and methods say of each other."""
    names = [task.name for task in plan.tasks]
    known = {task.name: task for task in plan.tasks}
    for task in plan.tasks:
        if task.first is None:
            continue
        if task.first not in known or task.first == task.name:
            others = [name for name in names if name != task.name]
            raise place.at(f"task {task.name}, first").unknown("other task of the study", task.first, others)
        if known[task.first].kind != task.kind:
            raise place.wrong(
                f"task {task.name}, first: {task.first} is of the kind {known[task.first].kind}, and {task.name} of "
                f"{task.kind}: a model goes from one to the other of its kind alone"
            )
        if known[task.first].first is not None:
            raise place.wrong(
                f"task {task.name}, first: {task.first} itself starts from {known[task.first].first}; a pair is all "
                "that can be run in sequence"
            )
    _check_once(place.at("parts, name"), [part.name for part in plan.parts])
    seeds: dict[tuple[str, str], dict[int, str]] = {}
    for part in plan.parts:
        here = place.at(f"part {part.name}")
        for task_name in part.tasks:
            if task_name not in known:
                raise here.at("tasks").unknown("task of the study", task_name, names)
            seeds.setdefault((task_name, part.stage), {}).update(dict.fromkeys(part.seeds, part.name))
        _check_kinds(here, part, [known[name] for name in part.tasks])
        _check_cells(here, part)
    for task_name in names:
        tuned, confirmed = (seeds.get((task_name, stage), {}) for stage in ("tuning", "confirmation"))
        if shared := sorted(tuned.keys() & confirmed.keys()):
            raise place.wrong(
                f"seeds {', '.join(map(str, shared))} of task {task_name} are in part {tuned[shared[0]]}, which tunes, "
                f"and in part {confirmed[shared[0]]}, which confirms: give the second fresh seeds"
            )
    trained = {method.name for part in plan.parts for method in part.methods}
    for name in plan.keep_states:
        if name not in trained:
            raise place.at("keep_states").unknown("method of the study", name, sorted(trained))


def _check_kinds(place: _Place, part: Part, tasks: Sequence[Task]) -> None:
    """Refuse methods and filters that cannot do what a task is."""
    grids: list[tuple[str, Method | AfterTraining]] = [
        ("methods", get_method(grid.name)) for grid in part.methods
    ]
    grids += [("after", get_after_training(grid.name)) for grid in part.after]
    for where, declared in grids:
        for task in tasks:
            if task.kind not in declared.kinds:
                raise place.wrong(
                    f"{where}: {declared.name} can do tasks of the kind {', '.join(declared.kinds)}, and task "
                    f"{task.name} is of {task.kind}: leave it out, or give {task.name} a part of its own"
                )


def _check_cells(place: _Place, part: Part) -> None:
    """Refuse a run that is there twice, be it that a default is written out once, and what its method cannot be."""
    for of in {method.name for method in part.methods}:
        grids: list[tuple[str, MethodGrid | AfterGrid, Method | AfterTraining]] = [
            ("methods", method, get_method(of)) for method in part.methods if method.name == of
        ]
        grids += [("after", after, get_after_training(after.name)) for after in part.after if of in after.of]
        seen = set()
        for kind, grid, declared in grids:
            for options in grid.variants():
                chosen = chosen_options(options, declared)
                filled = sorted(chosen.items())
                run = (kind, grid.name, str(filled))
                if run in seen:
                    told = ", ".join(f"{name}={value}" for name, value in filled) or "its defaults"
                    raise place.wrong(f"{kind}: {grid.name} with {told} is there twice")
                seen.add(run)
                try:
                    check_values(chosen, declared)
                except (ValueError, TypeError) as error:
                    raise place.wrong(f"{kind} {grid.name}: {error}") from None


def _filled(kind: type[T], place: _Place, given: Mapping[str, Any]) -> T:
    """Make a value class of plain values, each read by the type of its field."""
    hints = get_type_hints(kind)
    read: dict[str, Any] = {}
    for field in fields(kind):  # type: ignore[arg-type]
        if field.name not in given:
            if field.default is MISSING and field.default_factory is MISSING:
                raise place.wrong(f"{field.name} is missing")
            continue
        value, here = given[field.name], place.at(field.name)
        read[field.name] = (
            _READERS[hints[field.name]](here, value) if hints[field.name] in _READERS else value
        )
    return kind(**read)


def _text(place: _Place, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise place.wrong("a word is missing" if value is None else f"{value!r} is no word; put it in quotes")
    return value


def _texts(place: _Place, value: object) -> tuple[str, ...]:
    read = tuple(_text(place, one) for one in _list(place, value))
    _check_once(place, read)
    return read


def _whole(place: _Place, value: object) -> int:
    lowest = LOWEST.get(place.last, 1)
    if not is_whole(value) or value < lowest:
        raise place.wrong(f"{value!r} is no whole number of at least {lowest}")
    return int(value)


def _wholes(place: _Place, value: object) -> tuple[int, ...]:
    read = tuple(_whole(place, one) for one in _list(place, value))
    _check_once(place, read)
    return read


def _factor(place: _Place, value: object) -> float:
    if not is_number(value) or not math.isfinite(value) or value < 0:
        raise place.wrong(f"{value!r} is no number of at least 0")
    return float(value)


def _factors(place: _Place, value: object) -> tuple[float, ...]:
    read = tuple(_factor(place, one) for one in _list(place, value))
    _check_once(place, read)
    return read


def _flag(place: _Place, value: object) -> bool:
    if not isinstance(value, bool):
        raise place.wrong(f"{value!r} is neither true nor false")
    return value


def _stage(place: _Place, value: object) -> str:
    if value not in get_args(Stage):
        raise place.unknown("stage", value, get_args(Stage))
    return str(value)


def _or_none(read: Callable[[_Place, object], Any]) -> Callable[[_Place, object], Any]:
    return lambda place, value: None if value is None else read(place, value)


# Any: each reads what its type says.
_READERS: dict[Any, Callable[[_Place, Any], Any]] = {
    str: _text,
    int: _whole,
    float: _factor,
    bool: _flag,
    str | None: _or_none(_text),
    int | None: _or_none(_whole),
    float | None: _or_none(_factor),
    tuple[str, ...]: _texts,
    tuple[int, ...]: _wholes,
    tuple[float, ...]: _factors,
    Stage: _stage,
}


def _mapping(
    place: _Place, value: object, known: Sequence[str] | None, needed: Sequence[str] = ()
) -> dict[str, Any]:
    if not isinstance(value, dict) or not (value or known):
        came = "nothing" if value in (None, {}) else repr(value)
        raise place.wrong(f"names with values are needed here, such as `name: value`; got {came}")
    for name in value:
        if known is not None and name not in known:
            raise place.unknown("key", name, known)
    for name in needed:
        if name not in value:
            raise place.wrong(f"{name} is missing")
    return value


def _list(place: _Place, value: object) -> list[Any]:
    if value is None:
        raise place.wrong("a list is missing")
    if not isinstance(value, list):
        raise place.wrong(f"a list is needed here, such as [{value}]; got {value!r}")
    if not value and place.last not in MAY_BE_EMPTY:
        raise place.wrong("the list is empty")
    return value


def _check_once(place: _Place, values: Sequence[object]) -> None:
    # True is 1 to Python, and no option takes both.
    for number, value in enumerate(values):
        if any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in values[:number]):
            raise place.wrong(f"{value!r} is there twice")


def _check_name(place: _Place, name: str) -> None:
    if not NAME.fullmatch(name):
        raise place.wrong(f"the name {name!r} becomes a file's: letters, digits, '_', '-' and '.' alone")


def _as_set(value: str | tuple[str, ...]) -> set[str]:
    return {value} if isinstance(value, str) else set(value)


def _grid(grid: MethodGrid | AfterGrid) -> dict[str, Any]:
    of = {"of": list(grid.of)} if isinstance(grid, AfterGrid) else {}
    return {"name": grid.name, **of, **{name: list(values) for name, values in grid.options.items()}}


def _listed(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def _task_content(task: Task) -> dict[str, Any]:
    """Give a task without its name; of what every plan had before there were kinds, none is told."""
    kind = {} if task.kind == CLASSIFICATION else {"kind": task.kind}
    return kind | {key: value for key, value in _listed(asdict(task)).items() if key != "name"}


def _presets() -> Iterator[Any]:  # Any: what importlib.resources has of a file
    yield from (files("spectral_opt.study") / "presets").iterdir()


def _text_of(path: Any) -> str:  # Any: as of `_presets`
    try:
        return str(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise ValueError(f"{path} is no text in UTF-8") from None
