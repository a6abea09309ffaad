"""Constructions: pairs of a builder and what its graph is built from, and which of them have a meaning."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from paramgraph.comparison._options import Builders, Sources
from paramgraph.construct import source_name
from paramgraph.digests import readable
from paramgraph.graphs import BuilderLike, GraphBuilder, as_builder
from paramgraph.nodes import NodeTable
from paramgraph.sources import SOURCES, SourceLike, source_refusal

DEFAULT_BUILDERS = ("cosine_knn", "gaussian_knn", "correlation", "gram", "ring")


@dataclass(frozen=True)
class Construction:
    """A way to make a graph of some nodes: a builder with its short name, a source, and what tables call the two."""

    name: str
    builder_name: str
    builder: GraphBuilder = field(compare=False)
    source: SourceLike

    @property
    def source_name(self) -> str:
        """Name of the source."""
        return source_name(self.source) if self.reads_features else "none"

    @property
    def features(self) -> str:
        """Name of the features that a reading must hold; weights are given to a ring, which looks at none."""
        return self.source_name if self.reads_features else "weights"

    @property
    def reads_features(self) -> bool:
        """Whether the graph depends on the features at all; a ring does not."""
        return self.builder.reads_features

    @property
    def is_null(self) -> bool:
        """Whether this is a null model, to be read as one."""
        return self.builder.is_null

    def to_dict(self) -> dict[str, Any]:
        """Describe the construction in plain values: `name`, `builder` with all options, `source` and `null`."""
        return {
            "name": self.name,
            "builder": readable(self.builder),
            "source": self.source_name,
            "null": self.is_null,
        }


def plan_constructions(
    builders: Builders | None,
    sources: Sources,
    scheme: str,
) -> tuple[list[Construction], list[dict[str, str]]]:
    """Pair builders with sources, source by source, and leave out what has no meaning, with the reason.

    What is left out comes as `builder`, `source`, `scheme` and `reason`. A ValueError if there are no builders or
    sources, two have one name, or nothing is left; an UnknownNameError for a builder or source that is unknown.

    >>> kept, refused = plan_constructions(["ring", "attention_head"], ["weights", "gradients"], "rows")
    >>> [construction.name for construction in kept]
    ['ring']
    >>> refused[0]["reason"]
    "attention_head links attention heads, and 'rows' has none: take 'heads'"
    """
    named = _named_builders(builders)
    listed = [sources] if isinstance(sources, str) or callable(sources) else list(sources)
    if not named or not listed:
        raise ValueError("compare at least one builder and one source, such as ['cosine_knn'] and 'weights'")
    for source in listed:
        if callable(source) and source_name(source) in SOURCES:
            raise ValueError(
                f"a source of your own has the name of a built-in one, {source_name(source)!r}: rename the function"
            )
    kept: list[Construction] = []
    refused: list[dict[str, str]] = []
    without_features: set[str] = set()
    for source in listed:
        reason_of_source = source_refusal(source, scheme) if isinstance(source, str) else ""
        for name, short, builder in named:
            reads = builder.reads_features
            shown = f"{name} of {source_name(source)}" if reads else name
            reason = builder.scheme_refusal(scheme)
            if not reason and reads:
                reason = reason_of_source
            if not reason and name in without_features:
                reason = f"{name} reads no features: built once, whatever the source"
            if reason:
                refused.append(
                    {"builder": name, "source": source_name(source), "scheme": scheme, "reason": reason}
                )
                continue
            if not reads:
                without_features.add(name)
            kept.append(Construction(shown, short, builder, source))
    doubled = {one.name for one in kept if sum(other.name == one.name for other in kept) > 1}
    if doubled:
        raise ValueError(f"two constructions have the name {min(doubled)!r}: name builders by a mapping")
    if not kept:
        raise ValueError(f"no construction is left to compare: {refused[0]['reason']}")
    return kept, refused


def buildable_constructions(
    constructions: Sequence[Construction], tables: Mapping[str, NodeTable]
) -> tuple[dict[str, list[Construction]], list[dict[str, str]]]:
    """Ask builders, where they can tell, which layers have too few or too many nodes for them.

    Gives what each layer can have, and `builder`, `source`, `scheme` and `reason` of what it cannot, once for each
    reason.
    """
    kept: dict[str, list[Construction]] = {group: [] for group in tables}
    refusals: dict[tuple[str, str], list[str]] = {}
    for group, table in tables.items():
        for construction in constructions:
            reason = refusal_of_nodes(construction, table)
            if reason:
                refusals.setdefault((construction.name, reason), []).append(group)
            else:
                kept[group].append(construction)
    listed = []
    for (name, reason), groups in refusals.items():
        construction = next(one for one in constructions if one.name == name)
        scheme = next(iter(tables.values())).scheme
        where = groups[0] if len(groups) == 1 else f"{len(groups)} layers, the first {groups[0]}"
        listed.append(
            {
                "builder": construction.name.removesuffix(f" of {construction.source_name}"),
                "source": construction.source_name,
                "scheme": scheme,
                "reason": f"{reason} ({where})",
            }
        )
    return kept, listed


def refusal_of_nodes(construction: Construction, table: NodeTable) -> str:
    """Say why a builder has no graph for so many nodes; "" where it has."""
    try:
        construction.builder.check_nodes(table.shape[0])
    except ValueError as error:
        return str(error)
    return ""


def _named_builders(builders: Builders | None) -> list[tuple[str, str, GraphBuilder]]:
    """Name, short name and builder of each."""
    if builders is None:
        builders = DEFAULT_BUILDERS
    pairs: list[tuple[str | None, BuilderLike]]
    if isinstance(builders, Mapping):
        pairs = list(builders.items())
    elif isinstance(builders, str) or callable(builders):
        pairs = [(None, builders)]
    else:
        pairs = [(None, one) for one in builders]
    found = []
    for name, given in pairs:
        builder = as_builder(given)
        short = given if isinstance(given, str) else builder.short_name
        found.append((short if name is None else str(name), short, builder))
    return found
