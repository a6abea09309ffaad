"""YAML read strictly: plain values, YAML 1.2's floats, and no key twice; and written so that it reads the same."""

import re
from collections import Counter
from typing import Any

import yaml


def read_yaml(text: str, name: str) -> object:
    """Read one document of plain values; what is no YAML, or has a key twice, is a ValueError that begins with `name`.

    >>> read_yaml("rate: 1e-4", "the example")
    {'rate': 0.0001}
    """
    try:
        # A SafeLoader: plain values, and never an object.
        found: object = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ValueError(f"{name}: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise ValueError(f"{name} is nested too deep") from None
    return found


def yaml_text(content: object) -> str:
    r"""Write plain values as YAML that `read_yaml` reads as the same.

    >>> yaml_text({"rate": 1e-4, "name": "1e-4"})
    "rate: 0.0001\nname: '1e-4'\n"
    """
    text: str = yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    return text


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # no types come with it
    """YAML 1.2's floats, no dates or numbers to the base 60, keys that are always text and never there twice."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (TypeError, ValueError, LookupError):  # of a tag that was written before what is none of it
            kind = node.tag.rpartition(":")[2]
            raise _error(f"{str(node.value)[:40]!r} cannot be read as {kind}", node) from None


def _unique_keys(loader: _Loader, node: yaml.MappingNode) -> dict[str, Any]:
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise _error("a key must be one word", key)
    written = Counter(key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge")
    for key, value in node.value:
        if written[key.value] > 1:
            raise _error(f"{key.value} is there twice", key)
        # YAML reads {a:1} as the one name "a:1".
        is_empty = value.start_mark.index == value.end_mark.index
        if node.flow_style and key.style is None and ":" in key.value and is_empty:
            name, _, meant = key.value.partition(":")
            raise _error(
                f"{key.value} is a name without a value: write {{{name}: {meant}}}, with a space", key
            )
    loader.flatten_mapping(node)
    # As text: a key `null`, an option of methods, would be None.
    return {key.value: loader.construct_object(value, deep=True) for key, value in node.value}


def _error(problem: str, node: yaml.Node) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]
    """Without anchors, which a reader would have to look up."""

    def ignore_aliases(self, data: object) -> bool:
        return True


_PLAIN = tuple(
    f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "int", "float", "str", "seq", "merge")
)
# None is PyYAML's own for a tag that it has no constructor for: it refuses it.
_Loader.yaml_constructors = {
    tag: make for tag, make in yaml.SafeLoader.yaml_constructors.items() if tag is None or tag in _PLAIN
}
# YAML 1.1 counts 12:30:00 to the base 60: here it is text, and so are dates.
_SIXTIES = ("tag:yaml.org,2002:str", re.compile(r"[-+]?[\d_]+:"))
_Loader.yaml_implicit_resolvers = {
    first: [_SIXTIES, *(one for one in known if one[0] in _PLAIN)]
    for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_constructor("tag:yaml.org,2002:map", _unique_keys)
# PyYAML reads 1e-4, which has no point, as text, and would write that text without quotes.
for kind in (_Loader, _Dumper):
    kind.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+0123456789.")
    )
