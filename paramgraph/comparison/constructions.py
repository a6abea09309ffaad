"""Constructions: pairs of a builder and what its graph is built from, and which of them have a meaning."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from paramgraph.construct import source_name
from paramgraph.graphs import BuilderLike, GraphBuilder, as_builder
from paramgraph.sources import SOURCES, source_refusal

DEFAULT_BUILDERS = ("cosine_knn", "gaussian_knn", "correlation", "gram", "ring")


@dataclass(frozen=True)
class Construction:
    """A way to make a graph of some nodes.

    Parameters
    ----------
    name : str
        What tables and figures call it.
    builder_name : str
        Short name of the builder.
    builder : GraphBuilder
        Maps `Data -> Data`.
    source : str or callable
        What the features of the nodes are, as in `paramgraph.collect`.

    Examples
    --------
    >>> construction = plan_constructions(["cosine_knn"], ["weights"], "rows")[0][0]
    >>> construction.name, construction.is_null
    ('cosine_knn of weights', False)
    """

    name: str
    builder_name: str
    builder: GraphBuilder = field(compare=False)
    source: Any

    @property
    def source_name(self) -> str:
        """Name of the source."""
        return source_name(self.source) if self.reads_features else "none"

    @property
    def reads_features(self) -> bool:
        """Whether the graph depends on the features at all; a ring does not."""
        return self.builder.reads_features

    @property
    def is_null(self) -> bool:
        """Whether this is a null model, to be read as one."""
        return self.builder.is_null

    def to_dict(self) -> dict[str, Any]:
        """Describe the construction in plain values.

        Returns
        -------
        dict
            With `name`, `builder` (with all options), `source` and `null`.
        """
        return {
            "name": self.name,
            "builder": repr(self.builder),
            "source": self.source_name,
            "null": self.is_null,
        }


def plan_constructions(
    builders: Sequence[BuilderLike] | Mapping[str, BuilderLike] | None,
    sources: str | Callable[..., Any] | Sequence[Any],
    scheme: str,
) -> tuple[list[Construction], list[dict[str, str]]]:
    """Pair builders with sources, and leave out what has no meaning, with the reason.

    Parameters
    ----------
    builders : sequence of str or callable, mapping of str to these, or None
        Names, or callables `Data -> Data`; a mapping gives them names of its own. None: `DEFAULT_BUILDERS`.
    sources : str, callable, or sequence of these
        As in `paramgraph.collect`.
    scheme : str
        Of the tables.

    Returns
    -------
    constructions : list of Construction
        Source by source.
    refused : list of dict
        `builder`, `source`, `scheme` and `reason` of each pair that was left out.

    Raises
    ------
    ValueError
        If there are no builders or sources, two have one name, or nothing is left.
    UnknownNameError
        If there is no builder or source of a name.

    Examples
    --------
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


def _named_builders(builders: Any) -> list[tuple[str, str, GraphBuilder]]:
    """Name, short name and builder of each."""
    if builders is None:
        builders = DEFAULT_BUILDERS
    if isinstance(builders, str) or callable(builders):
        builders = [builders]
    pairs = list(builders.items()) if isinstance(builders, Mapping) else [(None, one) for one in builders]
    found = []
    for name, given in pairs:
        builder = as_builder(given)
        short = given if isinstance(given, str) else builder.short_name
        found.append((short if name is None else str(name), short, builder))
    return found
