"""Where the heads of attention modules lie in their projections, from modules, names and sizes.

Nothing here knows an architecture's class. An attention module is one that owns layers of known names; the
number of heads comes from its attributes or its config. Only the layout of a fused projection cannot be seen
from sizes: it is looked up by the layer's name and, where two libraries disagree, by the config's model type.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from paramgraph.nodes._attention_names import (
    FUSED,
    HEAD_SIZES,
    HEADS,
    KEY_VALUE_HEADS,
    LATENT,
    LATENT_KEY_SIZES,
    LATENT_VALUE_SIZES,
    OUTPUT,
    OUTPUT_BESIDE,
    QUERY_BESIDE_FUSED,
    SPLIT,
    is_attention,
)
from paramgraph.nodes.linear_modules import LinearLayer
from paramgraph.nodes.slices import ParameterSlice


@dataclass(frozen=True)
class HeadProjection:
    """The heads' part of one matrix: rows of a query, key or value projection, or columns of an output one."""

    kind: str
    module: str  # bare name of the layer
    part: ParameterSlice  # one node per head, of `size` x (the other side of the matrix) entries


@dataclass(frozen=True)
class Attention:
    """An attention module, under its bare name, and its query, key, value and output projections."""

    module: str
    layer: int  # -1 where none
    role: str  # as "attention.self"
    heads: int
    key_value_heads: int
    projections: tuple[HeadProjection, ...]


def attention_module(
    name: str,
    own: Mapping[str, LinearLayer],
    layers: Mapping[str, LinearLayer],
    owners: tuple[Any, ...],
    fused: str | None = None,
) -> Attention | None:
    """Read the layout of one module, or None where it owns no layers of known names.

    `own` are the module's own layers under their names in it, `layers` all of the model under their bare names, as
    the output projection may lie outside; `owners` are where the number of heads is looked up, in this order: the
    module, its config, configs above it. A ValueError says why heads cannot be told apart: their number is unknown
    or does not fit the sizes, a fused layout is unknown, or the output projection is missing.
    """
    reader = _Reader(name, own, layers, owners, fused)
    for query, key, value in SPLIT:
        if {query, key, value} <= own.keys():
            return reader.split(own[query], own[key], own[value])
    if set(QUERY_BESIDE_FUSED) <= own.keys():
        return reader.query_beside_fused(*(own[child] for child in QUERY_BESIDE_FUSED))
    for query, both in LATENT:
        if {query, both} <= own.keys():
            return reader.latent(own[query], own[both])
    for child in FUSED:
        if child in own and (reader.layout(child) or is_attention(owners[0])):
            return reader.fused_projection(own[child], child)
    return None


def _join(name: str, child: str) -> str:
    return f"{name}.{child}" if name else child


@dataclass(frozen=True)
class _Reader:
    name: str
    own: Mapping[str, LinearLayer]
    layers: Mapping[str, LinearLayer]
    owners: tuple[Any, ...]
    fused: str | None

    def split(self, query: LinearLayer, key: LinearLayer, value: LinearLayer) -> Attention:
        heads = self._heads(_outputs(query))
        size = self._divide(_outputs(query), heads, query)
        declared = _first_integer(self.owners[:1], HEAD_SIZES)
        if declared is not None and declared != size:
            raise self._unreadable(
                f"{query.module} has {_outputs(query)} outputs, which is not {heads} heads of {declared}"
            )
        pairs = self._divide(_outputs(key), size, key)
        cuts = [
            _cut("query", query, (heads, size)),
            _cut("key", key, (pairs, size)),
            _cut("value", value, (pairs, self._divide(_outputs(value), pairs, value))),
        ]
        return self._attention(heads, pairs, cuts)

    def query_beside_fused(self, query: LinearLayer, both: LinearLayer) -> Attention:
        heads = self._heads(_outputs(query))
        size = self._divide(_outputs(query), heads, query)
        pairs = self._divide(_outputs(both), 2 * size, both)
        split = (2 * pairs, size)
        cuts = [
            _cut("query", query, (heads, size)),
            _cut("key", both, split, 0, pairs),
            _cut("value", both, split, pairs, 2 * pairs),
        ]
        return self._attention(heads, pairs, cuts)

    def latent(self, query: LinearLayer, both: LinearLayer) -> Attention:
        heads = self._heads(_outputs(query))
        key = _first_integer(self.owners, LATENT_KEY_SIZES) or 0
        value = _first_integer(self.owners, LATENT_VALUE_SIZES) or 0
        if _outputs(both) != heads * (key + value) or not value:
            raise self._unreadable(
                f"{both.module} has {_outputs(both)} outputs, which is not {heads} keys of {key} and values of {value}"
            )
        split = (heads, key + value)
        cuts = [
            _cut("query", query, (heads, self._divide(_outputs(query), heads, query))),
            _cut("key", both, split, inner=(0, key)),
            _cut("value", both, split, inner=(key, key + value)),
        ]
        return self._attention(heads, heads, cuts)

    def fused_projection(self, both: LinearLayer, child: str) -> Attention:
        layout = self.layout(child)
        if layout is None:
            raise self._unreadable(
                f"how {both.module} fuses queries, keys and values is known for the model types "
                f"{', '.join(FUSED[child])}, not for {self._model_types()}: pass fused='blocked' (all "
                "queries, all keys, all values) or fused='grouped' (head by head: queries, key, value)"
            )
        heads = self._heads(None)
        pairs = _first_integer(self.owners[:2], KEY_VALUE_HEADS) or heads
        size = self._divide(_outputs(both), heads + 2 * pairs, both)
        declared = _first_integer(self.owners[:1], HEAD_SIZES)
        if heads % pairs or declared not in (None, size):
            raise self._unreadable(
                f"{both.module} has {_outputs(both)} outputs, which does not fit {heads} query heads and "
                f"{pairs} key/value heads of {declared or size}"
            )
        ends = (0, heads, heads + pairs, heads + 2 * pairs)
        split: tuple[int, ...] = (ends[-1], size)
        if layout == "grouped":
            each = heads // pairs
            ends = (0, each, each + 1, each + 2)
            split = (pairs, each + 2, size)
        cuts = [
            _cut(kind, both, split, ends[i], ends[i + 1]) for i, kind in enumerate(("query", "key", "value"))
        ]
        return self._attention(heads, pairs, cuts)

    def _attention(self, heads: int, pairs: int, cuts: list[HeadProjection]) -> Attention:
        if heads % pairs:
            raise self._unreadable(f"{heads} query heads do not share {pairs} key/value heads evenly")
        output = self._output()
        inputs = output.shape[0 if output.transposed else 1]
        cuts = [*cuts, _cut("output", output, (heads, self._divide(inputs, heads, output)))]
        layer = next(iter(self.own.values()))
        # Read off a layer, so that a module directly in a list of layers has the same role in each of them.
        role = layer.role.rpartition(".")[0] or type(self.owners[0]).__name__
        return Attention(self.name, layer.layer, role, heads, pairs, tuple(cuts))

    def _heads(self, outputs: int | None) -> int:
        heads = _first_integer(self.owners, HEADS)
        size = _first_integer(self.owners, HEAD_SIZES)
        if heads is None and size is not None and outputs is not None:
            heads = self._divide(outputs, size, next(iter(self.own.values())))
        if heads is None:
            raise self._unreadable(
                f"neither it nor a config says how many heads it has: give it an attribute {HEADS[1]}"
            )
        return heads

    def _divide(self, outputs: int, parts: int, layer: LinearLayer) -> int:
        if outputs % parts or outputs == 0:
            raise self._unreadable(f"{outputs} features of {layer.module} are no multiple of {parts}")
        return outputs // parts

    def layout(self, child: str) -> str | None:
        types = self._model_types()
        known = FUSED[child]
        return next((known[kind] for kind in types if kind in known), self.fused or known.get("*"))

    def _model_types(self) -> list[Any]:
        return [kind for kind in (getattr(owner, "model_type", None) for owner in self.owners) if kind]

    def _output(self) -> LinearLayer:
        above = self.name.rpartition(".")[0]
        tried = [_join(self.name, child) for child in OUTPUT]
        tried += [_join(above, child) for child in OUTPUT_BESIDE]
        for candidate in tried:
            if candidate in self.layers:
                return self.layers[candidate]
        raise self._unreadable(f"no output projection found among {', '.join(tried)}")

    def _unreadable(self, why: str) -> ValueError:
        kind = type(self.owners[0]).__name__
        return ValueError(
            f"cannot tell the heads of {kind} {self.name!r} apart: {why}; or leave its layers out with exclude"
        )


def _outputs(layer: LinearLayer) -> int:
    return layer.shape[1 if layer.transposed else 0]


def _cut(
    kind: str,
    layer: LinearLayer,
    split: tuple[int, ...],
    start: int = 0,
    stop: int | None = None,
    inner: tuple[int, int] | None = None,
) -> HeadProjection:
    """Cut the heads' side of a matrix into `split` axes, the last of them the features of one head, or `inner` ones."""
    outputs_first = not layer.transposed
    heads_first = outputs_first if kind != "output" else not outputs_first
    count = len(split)
    bounds = [(0, n) for n in split]
    bounds[count - 2] = (start, split[-2] if stop is None else stop)
    bounds[count - 1] = inner or bounds[count - 1]
    if heads_first:
        view, limits = (*split, layer.shape[1]), (*bounds, (0, layer.shape[1]))
        order = tuple(range(count + 1))
    else:
        view, limits = (layer.shape[0], *split), ((0, layer.shape[0]), *bounds)
        order = (*range(1, count + 1), 0)
    part = ParameterSlice(layer.parameter, layer.shape, view, limits, order, node_axes=count - 1)
    return HeadProjection(kind, layer.module, part)


def _first_integer(owners: tuple[Any, ...], names: tuple[str, ...]) -> int | None:
    for owner in owners:
        for name in names:
            value = getattr(owner, name, None)
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                return value
    return None
