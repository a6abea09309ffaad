"""What a value is, told from its content: the keys of what is kept, and a name that is the same in every process."""

import builtins
import copyreg
import dataclasses
import dis
import functools
import hashlib
import importlib
import importlib.metadata
import importlib.util
import re
import sys
import sysconfig
import types
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

PACKAGE = Path(__file__).parent
# Their code changes without a new version while they are written, so it is their code that counts.
OURS = ("paramgraph", "spectral_opt")
# What a function makes of these, as built in or as an attribute, is not written in it.
UNSEEN = frozenset(("eval", "exec", "compile", "globals", "__import__", "open", "input"))
UNSEEN_ATTRIBUTES = frozenset(("import_module", "environ", "getenv"))
# Folders of what pip and distributions install.
INSTALLED = frozenset(("site-packages", "dist-packages"))
# Of a class, what follows from the rest, or says nothing of what it does.
UNTOLD = frozenset(
    (
        *("__dict__", "__weakref__", "__module__", "__doc__", "_abc_impl"),
        *("__annotations__", "__annotate__", "__annotations_cache__", "__annotate_func__"),
        *("__firstlineno__", "__static_attributes__"),
    )
)
# Set by transformers on a generation config to Python's `hash`, which is another one in every process.
SALTED = frozenset(("_original_object_hash",))
ATOMS = (type(None), bool, int, float, complex, str, bytes, type(...), type(NotImplemented), range)
ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
GLOBAL_READS = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")


class UnidentifiedError(TypeError):
    """A value that cannot be told from another one by its content; the message says which part of it."""


def content_digest(*values: object) -> str:
    """Hash what values are, the same in every process, so that equal hashes stand for equal results.

    Functions are their code with its constants, defaults, closure, and the globals that it reads, down to what those
    call; objects are their class and their state, as pickling asks for it, tensors every bit. What is installed is its
    name and version, this distribution its code. A function's comments and name do not count. What it reads from files
    or draws at random is not seen.

    UnidentifiedError says what has no content to be told by, as an open file, or code that is made while it runs.
    """
    try:
        return _Walk().of(values).hex()
    except RecursionError:
        raise UnidentifiedError("it is nested too deeply") from None


def readable(value: object) -> str:
    """Write a value as its `repr`, without addresses in memory: a function by its name, and with its options.

    >>> readable(functools.partial(round, ndigits=2)), readable(len)
    ('round(ndigits=2)', 'len')
    """
    try:
        return _readable(value)
    except RecursionError:  # it holds itself
        return type(value).__qualname__


def _readable(value: object) -> str:
    if isinstance(value, types.FunctionType | types.BuiltinFunctionType | type):
        return value.__qualname__
    if isinstance(value, types.MethodType):
        return f"{readable(value.__self__)}.{value.__func__.__name__}"
    if isinstance(value, functools.partial):
        return _call(readable(value.func), value.args, value.keywords)
    text = repr(value)
    if not ADDRESS.search(text):
        return text
    if isinstance(value, list | tuple):
        inside = ", ".join(map(readable, value))
        return f"[{inside}]" if isinstance(value, list) else f"({inside})"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{readable(key)}: {readable(one)}" for key, one in value.items()) + "}"
    if dataclasses.is_dataclass(value):
        options = {one.name: getattr(value, one.name) for one in dataclasses.fields(value) if one.repr}
        return _call(type(value).__qualname__, (), options)
    if type(value).__repr__ is object.__repr__:
        state = {name: one for name, one in getattr(value, "__dict__", {}).items() if one is not value}
        return _call(
            type(value).__qualname__, (), {name: one for name, one in state.items() if name[0] != "_"}
        )
    return ADDRESS.sub("", text)


def _call(name: str, arguments: tuple[Any, ...], options: Mapping[str, Any]) -> str:
    shown = [*map(readable, arguments), *(f"{option}={readable(value)}" for option, value in options.items())]
    return f"{name}({', '.join(shown)})"


def text_digest(*parts: str) -> str:
    """Hash texts, each with its length: SHA-256."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{len(part)}:{part}".encode())
    return digest.hexdigest()


def tensor_digest(*tensors: Tensor) -> str:
    """Hash tensors of any dtype and device: dtype, shape and every bit; 20 bytes of BLAKE2b, 1 GB a second."""
    digest = hashlib.blake2b(digest_size=20)
    for tensor in tensors:
        plain = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
        digest.update(f"{plain.dtype} {tuple(plain.shape)};".encode())
        digest.update(plain.reshape(-1).view(torch.uint8).numpy().data if plain.numel() else b"")
    return digest.hexdigest()


@functools.cache  # code does not change while a process runs it
def code_digest(place: Path) -> str:
    """Hash a file of Python, or all below a folder, whatever they are called, with their names in it."""
    files = sorted(place.rglob("*.py")) if place.is_dir() else [place]
    texts = [(file.relative_to(place).as_posix(), file.read_text(encoding="utf-8")) for file in files]
    return text_digest(*(part for text in texts for part in text))


class _Walk:
    """Hash values with all that they reach; what leads back to itself is told by how far back."""

    def __init__(self) -> None:
        self._done: dict[int, bytes] = {}
        self._open: dict[int, int] = {}
        self._modules: set[int] = set()
        self._alive: list[object] = []  # an id is that of one value only while the value lives

    def of(self, value: Any) -> bytes:  # Any: asked what it is, branch by branch
        kind = type(value)
        if kind in ATOMS:
            return _hash(kind.__name__, value if kind is bytes else repr(value))
        key = id(value)
        if key in self._done:
            return self._done[key]
        if key in self._open:
            return _hash("back", str(len(self._open) - self._open[key]))
        self._alive.append(value)
        self._open[key] = len(self._open)
        try:
            found = self._content(value, kind)
        finally:
            del self._open[key]
        self._done[key] = found
        return found

    def _content(self, value: Any, kind: type) -> bytes:
        if kind in (list, tuple):
            return _hash(kind.__name__, *map(self.of, value))
        if kind in (dict, types.MappingProxyType):  # their order may count
            return _hash("dict", *(self.of(part) for item in value.items() for part in item))
        if kind in (set, frozenset):
            return _hash(kind.__name__, *sorted(map(self.of, value)))
        if isinstance(value, Tensor):
            return self._tensor(value, kind)
        if kind is np.ndarray and value.dtype != object:
            entries = np.ascontiguousarray(value)
            return _hash("array", repr(value.dtype), str(value.shape), entries.tobytes())
        if kind is torch.Generator:
            return _hash("generator", tensor_digest(value.get_state()))
        if kind is types.CodeType:
            return self._code(value)
        if kind is types.FunctionType:
            return self._function(value)
        if isinstance(value, types.BuiltinFunctionType | types.MethodWrapperType):
            owner = value.__self__
            home = _home(getattr(value, "__module__", None), value) if owner is None else self.of(owner)
            return _hash("builtin", value.__name__, home)
        if kind is types.MethodType:
            return _hash("method", self.of(value.__func__), self.of(value.__self__))
        if kind in (staticmethod, classmethod):
            return _hash(kind.__name__, self.of(value.__func__))
        if kind is property:
            return _hash("property", *map(self.of, (value.fget, value.fset, value.fdel)))
        if kind is functools.cached_property:  # which holds a lock
            return _hash("property", self.of(value.func))
        if hasattr(value, "cache_info") and hasattr(value, "__wrapped__"):  # of functools.cache
            return _hash("cached", self.of(value.__wrapped__))
        if isinstance(value, types.ModuleType):
            return self._module(value, [name for name in vars(value) if not name.startswith("__")])
        if isinstance(value, type):
            return self._class(value)
        if isinstance(value, Enum):
            return _hash("enum", self.of(type(value)), self.of(value.value))
        if kind is types.CellType:
            return _hash("cell", *map(self.of, _contents(value)))
        if isinstance(value, _SLOTS):
            return _hash("slot", value.__name__)
        if isinstance(value, np.ufunc):
            name = str(value.__name__)
            if getattr(np, name, None) is not value:
                raise UnidentifiedError(f"it reaches the ufunc {name}, which has no content to be told by")
            return _hash("ufunc", name, _library("numpy") or "")
        return self._object(value, kind)

    def _state(self, state: Any) -> bytes:
        """Hash a state without what is another one in every process: salted hashes, and the numbers of hooks."""
        if type(state) is dict and not SALTED.isdisjoint(state):
            state = {name: part for name, part in state.items() if name not in SALTED}
        if type(state) is dict and "_forward_hooks" in state:  # of a module of torch
            told = {name: part for name, part in state.items() if "state_dict" not in name}
            state = {
                name: list(part.values()) if "hook" in name and isinstance(part, dict) else part
                for name, part in told.items()
            }
        return self.of(state)

    def _object(self, value: Any, kind: type) -> bytes:
        reduce = copyreg.dispatch_table.get(kind)
        if isinstance(value, nn.Module) and is_parametrized(value):  # which refuses to be pickled
            return _hash("object", self.of(kind), self._state(vars(value)))
        try:
            reduced = reduce(value) if reduce else value.__reduce_ex__(4)
        except Exception as error:  # classes of others raise what they like where they cannot be written down
            raise UnidentifiedError(
                f"it reaches a {kind.__module__}.{kind.__qualname__}, which has no content to be told by"
            ) from error
        if isinstance(reduced, str):  # the name of a constant, or of a function in C
            home = getattr(value, "__module__", None) or kind.__module__
            return _hash("constant", reduced, _home(home, value))
        # What makes it, of what, and then its state, items and entries, the last two as iterators.
        parts = [list(part) if isinstance(part, Iterator) else part for part in reduced]
        return _hash("object", self.of(kind), *map(self._state, parts))

    def _tensor(self, value: Tensor, kind: type) -> bytes:
        known = kind in (Tensor, torch.nn.Parameter)
        own = b"" if known else _hash(self.of(kind), self.of(vars(value)))
        try:
            plain = value.detach() if known else value.detach().as_subclass(Tensor)
            is_sparse = plain.layout is torch.sparse_coo
            parts = [plain.coalesce().indices(), plain.coalesce().values()] if is_sparse else [plain]
            return _hash("tensor", str(plain.layout), str(tuple(plain.shape)), tensor_digest(*parts), own)
        except (RuntimeError, TypeError) as error:  # on the meta device, quantized, sharded
            raise UnidentifiedError(
                f"it reaches a tensor whose entries cannot be read ({kind.__name__} on {value.device})"
            ) from error

    def _code(self, code: types.CodeType) -> bytes:
        counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
        names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
        errors = getattr(code, "co_exceptiontable", b"")
        return _hash("code", code.co_code, errors, *map(self.of, (counts, names, code.co_consts)))

    def _function(self, function: types.FunctionType) -> bytes:
        closure = [_contents(cell) for cell in function.__closure__ or ()]
        parts = (
            function.__code__,
            function.__defaults__,
            function.__kwdefaults__,
            function.__dict__,
            closure,
        )
        # Not `__module__`, which functools.wraps copies from what is wrapped.
        home = function.__globals__.get("__name__") or ""
        library = _library(home)
        found = [library] if library else [self._reads(function)]
        return _hash("function", *map(self.of, parts), *found)

    def _reads(self, function: types.FunctionType) -> bytes:
        """Hash the globals that the code of a user's function reads, and the modules that it imports."""
        known = function.__globals__
        found: list[str | bytes] = []
        codes = list(_codes(function.__code__))
        read = {name for code in codes for name in code.co_names}
        if unseen := sorted(read & UNSEEN_ATTRIBUTES):
            raise UnidentifiedError(f"it reads {unseen[0]}, and what comes of that is not written in it")
        # A name may also be written as text, for getattr.
        names = sorted(read | {text for code in codes for text in code.co_consts if isinstance(text, str)})
        for name in sorted({name for code in codes for name in _global_reads(code)}):
            if name in known:
                found += [name, self._global(known[name], names)]
            elif name in UNSEEN:
                raise UnidentifiedError(f"it calls {name}(), and what comes of that is not written in it")
            else:
                found.append(f"{name} {hasattr(builtins, name)}")
        for name in sorted({name for code in codes for name in _imports(code, known)}):
            found += [name, self._module(_imported(name), names)]
        return _hash("reads", *found)

    def _module(self, module: types.ModuleType, names: list[str]) -> bytes:
        """Hash a module: installed, by its version; the user's, by the values of these names, where it has them."""
        library = _library(module.__name__)
        if library:
            return _hash("module", module.__name__, library)
        if id(module) in self._modules:  # modules may hold each other
            return _hash("back to a module")
        self._modules.add(id(module))
        known = [(name, getattr(module, name)) for name in names if hasattr(module, name)]
        found = [part for name, value in known for part in (name, self._global(value, names))]
        self._modules.remove(id(module))
        return _hash("module", *found)

    def _global(self, value: Any, names: list[str]) -> bytes:
        return self._module(value, names) if isinstance(value, types.ModuleType) else self.of(value)

    def _class(self, kind: type) -> bytes:
        library = _library(kind.__module__) if isinstance(kind.__module__, str) else _home(None, kind)
        if library:  # which may have made it of a class of the user's
            return _hash("class", kind.__module__, kind.__qualname__, library, self.of(kind.__bases__))
        inside = {name: value for name, value in vars(kind).items() if name not in UNTOLD}
        parts = [part for name in sorted(inside) for part in (name, inside[name])]
        return _hash("class", kind.__qualname__, self.of(type(kind)), *map(self.of, (kind.__bases__, parts)))


_SLOTS = (
    *(types.MemberDescriptorType, types.GetSetDescriptorType, types.WrapperDescriptorType),
    *(types.MethodDescriptorType, types.ClassMethodDescriptorType),
)


def _hash(*parts: str | bytes) -> bytes:
    digest = hashlib.blake2b(digest_size=20)
    for part in parts:
        plain = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        digest.update(f"{len(plain)}:".encode())
        digest.update(plain)
    return digest.digest()


def _contents(cell: types.CellType) -> list[object]:
    try:
        return [cell.cell_contents]
    except ValueError:  # not filled yet
        return []


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)


def _global_reads(code: types.CodeType) -> Iterator[str]:
    return (str(one.argval) for one in dis.get_instructions(code) if one.opname in GLOBAL_READS)


def _imports(code: types.CodeType, known: Mapping[str, Any]) -> Iterator[str]:
    steps = list(dis.get_instructions(code))
    for place, step in enumerate(steps):
        if step.opname == "IMPORT_NAME":
            level = steps[place - 2].argval  # pushed before the names that are imported
            package = known.get("__package__") or ""
            yield importlib.util.resolve_name("." * level + step.argval, package) if level else step.argval


def _imported(name: str) -> types.ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:  # a module of the user's raises what it likes
        raise UnidentifiedError(f"it imports {name}, which cannot be imported") from error


def _home(module: object, value: object) -> str:
    """Say what installed module a value is of that is known by its name alone."""
    found = _library(module) if isinstance(module, str) else None
    if not found:
        raise UnidentifiedError(f"it reaches {readable(value)}, which has no content to be told by")
    return f"{module} {found}"


@functools.cache
def _library(name: str) -> str | None:
    """Say which version of what is installed a module belongs to; None for a module of the user's own.

    With its own text: what is installed may be edited in its place.
    """
    top = name.partition(".")[0]
    if top in OURS:
        package = importlib.import_module(top)
        return f"{top} {code_digest(Path(str(package.__file__)).parent)}"
    module = sys.modules.get(name) or sys.modules.get(top)
    if module is None:
        return None
    file = getattr(module, "__file__", None)
    if not file:
        origin = getattr(getattr(module, "__spec__", None), "origin", None)
        return f"python {sys.version}" if origin in ("built-in", "frozen") else _version(top)
    place = Path(file).resolve()
    text = code_digest(place) if place.suffix == ".py" else ""
    if INSTALLED.intersection(place.parts):
        return f"{_version(top)} {text}"
    if any(place.is_relative_to(folder) for folder in _standard()):
        return f"python {sys.version} {text}"
    return None


@functools.cache
def _standard() -> list[Path]:
    return [Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")]


@functools.cache  # reads the metadata of every installed distribution
def _distributions() -> Mapping[str, list[str]]:
    return importlib.metadata.packages_distributions()


def _version(top: str) -> str | None:
    found = sorted(set(_distributions().get(top, ())))
    return " ".join(f"{name} {importlib.metadata.version(name)}" for name in found) or None
