"""Names for graph builders.

A builder is any callable `Data -> Data`; a name is only needed in configurations and on the command line.
Every file in `paramgraph/builders/` is imported when a name is asked for, and so is every entry point of the
group "paramgraph.builders" of installed packages: a new file, or package, is found without further edits.
"""

import functools
import importlib
import inspect
import pkgutil
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any, TypeAlias, TypeVar

from torch_geometric.data import Data

from paramgraph._checks import check_options, option_defaults
from paramgraph.environment import entry_points
from paramgraph.errors import UnknownNameError

ENTRY_POINT_GROUP = "paramgraph.builders"
_BUILT_IN = "paramgraph.builders"  # by name, as builders stand above this module

# What is accepted wherever a builder is: a registered name, or any callable such as a PyG transform.
BuilderLike: TypeAlias = str | Callable[[Data], Data]

_registered: dict[str, Callable[..., Any]] = {}
_failed: dict[str, Exception] = {}

_Registered = TypeVar("_Registered")


def register(name: str) -> Callable[[_Registered], _Registered]:
    """Give a builder a name.

    Parameters
    ----------
    name : str
        A Python identifier, by custom in lower case.

    Returns
    -------
    callable
        Decorator that returns its argument unchanged: a class, by custom a `paramgraph.graphs.GraphBuilder`, whose
        arguments are the options, or a function `(data, **options) -> Data`.

    Raises
    ------
    ValueError
        If the name is taken or no identifier. Only the same module may define the same class or function
        anew, as a notebook cell does that is run twice.
    TypeError
        If what is decorated cannot be called.

    Examples
    --------
    >>> import torch
    >>> from paramgraph.graphs import undirected_graph
    >>> @register("docs_lonely")
    ... def lonely(data):
    ...     '''Link no nodes.'''
    ...     return undirected_graph(data, torch.zeros(2, 0, dtype=torch.int64), torch.zeros(0))
    >>> get_builder("docs_lonely")(Data(num_nodes=2)).num_edges
    0
    """
    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(f"a builder's name must be an identifier like 'my_builder', got {name!r}")

    def decorate(builder: _Registered) -> _Registered:
        if not callable(builder):
            raise TypeError(f"builder {name!r} must be a class or a function, got {type(builder).__name__}")
        if not str(getattr(builder, "__module__", "")).startswith(f"{_BUILT_IN}."):
            _import_built_in()  # else theirs would be the second of a name
        known = _registered.get(name)
        if known is not None and not _is_redefinition(known, builder):
            raise ValueError(
                f"a builder named {name!r} is registered already ({_whereabouts(known)}); choose another name"
            )
        _registered[name] = builder
        return builder

    return decorate


def get_builder(
    builder: str | Callable[..., Any],  # a class takes options, and what it makes takes the Data
    /,
    **options: Any,  # whatever the builder takes: it checks them
) -> Callable[[Data], Data]:
    """Find a builder by name and give it its options; pass a callable through.

    Parameters
    ----------
    builder : str or callable
        A registered name, or any callable `Data -> Data` such as a PyG transform, returned unchanged. A class
        of builders is instantiated with the options.
    **options : object
        Arguments of the named builder, as `paramgraph.graphs.builder_options` lists them.

    Returns
    -------
    callable
        Maps `Data -> Data`.

    Raises
    ------
    UnknownNameError
        If the name is not registered; the message lists near and available names.
    TypeError
        If an option is unknown or missing, or options come with a callable.

    Examples
    --------
    >>> get_builder("cosine_knn", k=5)
    CosineKNN(k=5, signed=False, mutual=False, connect='none', search='exact')
    """
    if not isinstance(builder, str) and not callable(builder):
        raise TypeError(f"a builder is a name or a callable Data -> Data, got {type(builder).__name__}")
    is_named = isinstance(builder, str)
    factory: Any = find_builder(builder) if isinstance(builder, str) else builder
    if is_named or inspect.isclass(factory):
        check_options(
            "builder", str(builder) if is_named else factory.__name__, _options_of(factory), options
        )
    elif options:
        raise TypeError(
            f"options ({', '.join(options)}) go with a name; {builder!r} is a callable and takes none: "
            "set them where it is made, for example with functools.partial"
        )
    if not inspect.isclass(factory):
        return functools.partial(factory, **options) if options else factory
    made: Any = factory(**options)
    return made  # type: ignore[no-any-return]


def find_builder(name: str) -> Callable[..., Any]:
    """Find the class or function registered under a name, to which `get_builder` gives the options.

    Raises UnknownNameError if there is none, ImportError if it comes from an installed package that is broken.
    """
    _scan()
    if name in _registered:
        return _registered[name]
    if name in _failed:
        raise ImportError(
            f"builder {name!r} comes from an installed package that cannot be imported: {_failed[name]}"
        ) from _failed[name]
    raise UnknownNameError.among("builder", name, _registered)


def list_builders(pattern: str = "*") -> list[str]:
    """List the names of builders.

    Parameters
    ----------
    pattern : str, default "*"
        Shell pattern, matched with attention to case.

    Returns
    -------
    list of str
        In alphabetical order.

    Examples
    --------
    >>> list_builders("*knn")
    ['cosine_knn', 'gaussian_knn']
    """
    _scan()
    return sorted(name for name in _registered if fnmatchcase(name, pattern))


def builder_options(name: str) -> dict[str, Any]:
    """Map each option of a named builder to its default, `inspect.Parameter.empty` where it must be given.

    >>> builder_options("gaussian_knn")
    {'k': 10, 'sigma': None, 'mutual': False, 'connect': 'none', 'search': 'exact'}
    """
    return option_defaults(_options_of(find_builder(name)))


def name_of(builder: Callable[..., Any]) -> str:
    """Find the name under which the kind of a builder is registered; else that of its class or function.

    >>> name_of(get_builder("cosine_knn")), name_of(len)
    ('cosine_knn', 'len')
    """
    kind = builder if isinstance(builder, type) or hasattr(builder, "__qualname__") else type(builder)
    if isinstance(builder, functools.partial):
        kind = builder.func
    known = next((name for name, one in _registered.items() if one is kind), "")
    return known or str(getattr(kind, "__qualname__", kind))


def _options_of(factory: Callable[..., Any]) -> list[inspect.Parameter]:
    parameters = list(inspect.signature(factory).parameters.values())
    # The first argument of a plain function is the Data.
    return parameters if inspect.isclass(factory) else parameters[1:]


def _scan() -> None:
    """Import what may register builders."""
    _import_built_in()
    _load_entry_points()


def _import_built_in() -> None:
    package = importlib.import_module(_BUILT_IN)
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{_BUILT_IN}.{module.name}")


@functools.cache  # reads the metadata of every installed distribution
def _load_entry_points() -> None:
    for entry in entry_points(ENTRY_POINT_GROUP):
        try:
            builder = entry.load()
        except Exception as error:  # a broken package of someone else must not take all builders away
            _failed[entry.name] = error
            continue
        if _registered.get(entry.name) is not builder:  # its module may have used @register itself
            register(entry.name)(builder)


def _is_redefinition(known: Callable[..., Any], new: Callable[..., Any]) -> bool:
    """Tell a reloaded module or a notebook cell run again from a second owner of the name."""
    identity = [(getattr(one, "__module__", ""), getattr(one, "__qualname__", "<")) for one in (known, new)]
    return known is not new and identity[0] == identity[1] and "<" not in identity[0][1]


def _whereabouts(builder: Callable[..., Any]) -> str:
    return f"{getattr(builder, '__module__', '?')}.{getattr(builder, '__qualname__', repr(builder))}"
