"""`spectral-opt embedded`: models and texts that any command takes by name, without an account or a hub."""

import json
from dataclasses import dataclass
from typing import ClassVar

from paramgraph.cli import Json, Quiet, Traceback, check_extras


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """List the embedded models and texts: names that every command takes where it asks for a model or text.

    They come from wheels of the package index, pinned by hash, when they are first used; nothing is fetched here.
    """

    EXAMPLES: ClassVar[tuple[str, ...]] = ("spectral-opt embedded", "spectral-opt embedded --json")

    json: Json = False
    quiet: Quiet = False
    traceback: Traceback = False

    def run(self, line: str) -> int:
        """Print both tables."""
        from spectral_opt.tasks import describe_embedded

        found = describe_embedded()
        if self.json:
            print(json.dumps(found))
            return 0
        check_extras("a table", ("rich",), "paramgraph[demo]")
        from paramgraph.display import TableView, print_views

        models = tuple((one["name"], one["note"], one["licence"], one["wheel"]) for one in found["models"])
        texts = tuple((one["name"], one["labels"], one["licence"], one["wheel"]) for one in found["texts"])
        words = frozenset({1, 2, 3})
        print_views(
            [
                TableView(("model", "what it is", "licence", "from"), models, "Embedded models", words=words),
                TableView(("text", "labels", "licence", "from"), texts, "Embedded texts", words=words),
            ]
        )
        return 0
