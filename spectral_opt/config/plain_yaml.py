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
    return found


def yaml_text(content: object) -> str:
    r"""Write plain values as YAML that `read_yaml` reads as the same.

    >>> yaml_text({"rate": 1e-4, "name": "1e-4"})
    "rate: 0.0001\nname: '1e-4'\n"
    """
    text: str = yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    return text


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # no types come with it
    """YAML 1.2's floats, keys that are always text and never there twice."""


def _unique_keys(loader: _Loader, node: yaml.MappingNode) -> dict[str, Any]:
    written = Counter(key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge")
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode) or written[key.value] > 1:
            problem = f"{key.value} is there twice" if written[key.value] > 1 else "a key must be one word"
            raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
    loader.flatten_mapping(node)
    # As text: a key `null`, an option of methods, would be None.
    return {key.value: loader.construct_object(value, deep=True) for key, value in node.value}


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]
    """Without anchors, which a reader would have to look up."""

    def ignore_aliases(self, data: object) -> bool:
        return True


_Loader.add_constructor("tag:yaml.org,2002:map", _unique_keys)
# PyYAML reads 1e-4, which has no point, as text, and would write that text without quotes.
for kind in (_Loader, _Dumper):
    kind.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+0123456789.")
    )
