"""`paramgraph builders`: what a graph can be built by, and with which options."""

import inspect
import json
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from paramgraph.cli.commands import Json, Quiet, Traceback, argument
from paramgraph.display import print_lines


@dataclass(frozen=True, kw_only=True)
class Builders:
    """List what a graph can be built by, and with which options.

    Builders of graphs: those of this package, and those of installed ones that offer theirs under the entry point
    'paramgraph.builders'.
    """

    EXAMPLES: ClassVar[tuple[str, ...]] = (
        "paramgraph builders",
        "paramgraph builders cosine_knn",
        "paramgraph builders --json",
    )

    name: Annotated[str, argument("NAME", "one of them, with all that is known of it [list all]")] = ""
    json: Json = False
    quiet: Quiet = False
    traceback: Traceback = False

    def run(self, line: str) -> int:
        """Print builders, null models last; or one of them."""
        if self.name:
            return self._explain()
        builders = describe_builders()
        if self.json:
            print(json.dumps(builders, allow_nan=False, default=repr))
            return 0
        from paramgraph.display import TableView, print_views

        rows = tuple(
            (builder["name"], builder["summary"], ", ".join(_written(builder)) or "none")
            for builder in builders
        )
        nulls = frozenset(place for place, builder in enumerate(builders) if builder["null"])
        header = ("builder", "what it does", "options and their defaults")
        print_views(
            [TableView(header, rows, "Builders of graphs, null models last", nulls, words=frozenset({1, 2}))]
        )
        print(
            "\nWith options: --builders cosine_knn:k=20,mutual=true ring. "
            "Null models of each graph: --nulls permuted rotated random. "
            "All of one: paramgraph builders cosine_knn."
        )
        return 0

    def _explain(self) -> int:
        """Print what one builder does, as it says itself, and a line to take along."""
        from paramgraph.graphs import find_builder

        kind = find_builder(self.name)  # near names where there is none
        (builder,) = (one for one in describe_builders() if one["name"] == self.name)
        text = inspect.getdoc(kind) or ""
        if self.json:
            print(json.dumps({**builder, "description": text}, allow_nan=False, default=repr))
            return 0
        null = ", a null model" if builder["null"] else ""
        print_lines(f"{self.name}{null}: {', '.join(_written(builder)) or 'no options'}", "")
        print_lines(*text.splitlines())
        given = dict.fromkeys(builder["required"], "...") | builder["options"]
        pairs = ",".join(f"{option}={_word(default)}" for option, default in given.items())
        # A null model of another graph needs that graph, which `--nulls` gives it.
        is_of_another = builder["null"] and builder["required"]
        line = f"--nulls {self.name}" if is_of_another else f"--builders {self.name}{pairs and f':{pairs}'}"
        print_lines("", f"In a comparison: paramgraph compare MODEL --out DIR {line}")
        return 0


def describe_builders() -> list[dict[str, Any]]:
    """Describe every builder that can be found: name, summary, options, those needed, whether it is a null model.

    >>> [builder["name"] for builder in describe_builders() if builder["required"]]
    ['permuted', 'random', 'rotated']
    """
    from paramgraph.graphs import builder_options, find_builder, list_builders, list_nulls

    found, nulls = [], list_nulls()
    for name in list_builders():
        options = builder_options(name)
        required = [option for option, default in options.items() if default is inspect.Parameter.empty]
        lines = (inspect.getdoc(find_builder(name)) or "").strip().splitlines()
        found.append(
            {
                "name": name,
                "summary": lines[0] if lines else "",
                "options": {option: default for option, default in options.items() if option not in required},
                "required": required,
                "null": name in nulls,
            }
        )
    return sorted(found, key=lambda builder: builder["null"])


def _written(builder: dict[str, Any]) -> list[str]:
    needed = [f"{option} (needed)" for option in builder["required"]]
    return needed + [f"{option}={_word(default)}" for option, default in builder["options"].items()]


def _word(value: Any) -> str:
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)
