"""The command `paramgraph`."""

from typing import TYPE_CHECKING

from paramgraph._lazy import lazy_names

if TYPE_CHECKING:
    from paramgraph.cli.app import THREADS as THREADS, main as main
    from paramgraph.cli.builder_words import parse_builders as parse_builders
    from paramgraph.cli.builders_command import describe_builders as describe_builders
    from paramgraph.cli.checks import check_extras as check_extras, check_writable as check_writable
    from paramgraph.cli.inspect_command import size_text as size_text

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
