"""What the numbers of a layer come from, part by part: a finished layer counts only where all of them are the same."""

import json
from collections.abc import Iterable, Mapping

from paramgraph.comparison._constructions import Construction
from paramgraph.comparison._layer_reading import LayerReader
from paramgraph.digests import (
    PACKAGE,
    UnidentifiedError,
    code_digest,
    content_digest,
    tensor_digest,
    text_digest,
)
from paramgraph.environment import versions
from paramgraph.nodes import NodeTable
from paramgraph.sources import collect_updates


class Contents:
    """Tell by digests what layers are made from: weights, nodes, functions, batches, our code and all versions.

    `remarks` say what cannot be told from another of its name. Then no layer has contents, and none of an earlier run
    is taken.
    """

    def __init__(self, reader: LayerReader, constructions: Iterable[Construction]) -> None:
        self._reader = reader
        self._shared = {"code": code_digest(PACKAGE), "versions": text_digest(json.dumps(versions()))}
        self.remarks: list[str] = []
        for what, value in _deciding(reader, constructions).items():
            try:
                self._shared[what] = content_digest(value)
            except UnidentifiedError as error:
                self.remarks.append(
                    f"The {what} cannot be told from an earlier one: {error}. No layer of an earlier run is taken."
                )

    def of(self, table: NodeTable) -> dict[str, str] | None:
        """Give the digest of each part that decides a layer's numbers; None where one is not known."""
        weights, tuned = self._reader.weights, self._reader.tuned
        if self.remarks:
            return None
        try:
            # Of a stack, the one expert: all experts' digests would read the stack as many times.
            matrices = dict.fromkeys((part.parameter, part.expert) for part in table.slices)
            tensors = [weights[name] if at < 0 else weights[name][at] for name, at in matrices]
            if tuned is not None:
                tensors += collect_updates(weights, tuned, {table.group: table}).values()
        except (KeyError, ValueError, TypeError, OSError):  # a layer that is not there; its failure says so
            return None
        nodes = json.dumps([table.layer, table.head, table.role])
        return self._shared | {
            "weights": tensor_digest(*tensors),
            "nodes": text_digest(table.scheme, repr(table.slices), nodes),
        }


def _deciding(reader: LayerReader, constructions: Iterable[Construction]) -> Mapping[str, object]:
    """List what all layers depend on; where the model runs it decides with all its weights and its code."""
    found: dict[str, object] = {f"builder of {one.name!r}": one.builder for one in constructions}
    found |= {f"source {name!r}": source for name, source in reader.sources.items() if callable(source)}
    if reader.runs:
        found |= {"loss": reader.loss, "batches": reader.batches, "model": reader.model}
    return found
