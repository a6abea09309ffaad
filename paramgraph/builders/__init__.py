"""Builders: the ways to link nodes, one file each, which the registry finds by being here.

Each takes a `Data` of nodes, most of them with features, and gives the graph: what builders are, and what they share,
is in `paramgraph.graphs`. To add one, write a file as in CONTRIBUTING.md; no list names it.

- By features: `CosineKNN`, `GaussianKNN`, `Correlation`, `Gram`.
- By depth: `AttentionHead`, `LayerAdjacency`.
- Null models: `Ring` and `Complete`; `Permuted`, `RandomRewired` and `Rotated` of any other builder.
"""

from typing import TYPE_CHECKING

from paramgraph._lazy import lazy_names

if TYPE_CHECKING:
    from paramgraph.builders.attention_head import AttentionHead as AttentionHead
    from paramgraph.builders.complete import Complete as Complete
    from paramgraph.builders.correlation import Correlation as Correlation
    from paramgraph.builders.cosine_knn import CosineKNN as CosineKNN
    from paramgraph.builders.gaussian_knn import GaussianKNN as GaussianKNN
    from paramgraph.builders.gram import Gram as Gram
    from paramgraph.builders.layer_adjacency import LayerAdjacency as LayerAdjacency
    from paramgraph.builders.permuted import Permuted as Permuted
    from paramgraph.builders.random import RandomRewired as RandomRewired
    from paramgraph.builders.ring import Ring as Ring
    from paramgraph.builders.rotated import Rotated as Rotated

if not TYPE_CHECKING:
    __getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
