"""Which sources have no features for the nodes of which schemes, and why."""

from collections.abc import Iterable

from paramgraph.nodes import NodeTable


def scheme_refusal(source: str, scheme: str) -> str:
    """Say why a source gives no features of the nodes of a scheme.

    Parameters
    ----------
    source : str
        Name of a source; the name itself is not checked.
    scheme : str
        Name of a scheme.

    Returns
    -------
    str
        The reason; "" where it does.
    """
    if source == "attention_maps" and scheme != "heads":
        return f"attention maps belong to heads, not to {scheme!r}: make the tables with scheme='heads'"
    if source == "activations" and scheme == "blocks":
        return (
            "activations do not belong to blocks: a block is a part of the outputs and of the inputs, and all blocks "
            "beside or below each other would have the same; make the tables with scheme='rows' or 'columns'"
        )
    return ""


def check_scheme(source: str, tables: Iterable[NodeTable]) -> None:
    """Refuse a source that gives no features of some tables, before anything runs.

    Parameters
    ----------
    source : str
        Name of the source.
    tables : iterable of NodeTable
        Tables that it should measure.

    Raises
    ------
    ValueError
        With the reason of `scheme_refusal`.
    """
    for table in tables:
        if reason := scheme_refusal(source, table.scheme):
            raise ValueError(f"{reason} (asked for {table})")
