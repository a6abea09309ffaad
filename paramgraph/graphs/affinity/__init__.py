"""Affinity: how strongly nodes are linked, from their features; exact, in chunks, without a matrix of all pairs.

Features become rows whose products or distances compare nodes; the nearest, or all above a threshold, become edges,
each once, lower node first, sorted; what stays apart can be joined.

- For a builder of neighbours: `NeighbourBuilder`, and the types of its options, `Connect` and `Search`.
- Rows: `node_features` of a `Data`, `unit_rows`, `scaled_rows`; `shrunk_rows`, whose products are shrunk correlations.
- Edges by inner product: `neighbour_edges`, `threshold_edges`, `cosine_pairs`; `matrix_edges` of a given matrix, such
  as `partial_correlations`.
- Edges by distance: `nearest_by_distance` with `linked_pairs`, and `pair_distance`.
- Joining components: `join_by_cosine`, or `joining_pairs` by `distance_outside` or `cosine_outside`.
- All products of rows: `symmetric_product`.
- Inside: `CandidateSearch`, `nearest_neighbours`, `neighbour_pairs`, `pair_similarity`, `sparse_precision`.
"""

from typing import TYPE_CHECKING

from paramgraph._lazy import lazy_names

if TYPE_CHECKING:
    from paramgraph.graphs.affinity._candidates import CandidateSearch as CandidateSearch, Search as Search
    from paramgraph.graphs.affinity._symmetric_product import symmetric_product as symmetric_product
    from paramgraph.graphs.affinity.component_links import (
        Connect as Connect,
        cosine_outside as cosine_outside,
        distance_outside as distance_outside,
        join_by_cosine as join_by_cosine,
        joining_pairs as joining_pairs,
    )
    from paramgraph.graphs.affinity.correlation_estimates import (
        partial_correlations as partial_correlations,
        shrunk_rows as shrunk_rows,
        sparse_precision as sparse_precision,
    )
    from paramgraph.graphs.affinity.edges import (
        cosine_pairs as cosine_pairs,
        linked_pairs as linked_pairs,
        matrix_edges as matrix_edges,
        neighbour_edges as neighbour_edges,
        node_features as node_features,
        threshold_edges as threshold_edges,
        unit_rows as unit_rows,
    )
    from paramgraph.graphs.affinity.euclidean import (
        nearest_by_distance as nearest_by_distance,
        pair_distance as pair_distance,
        scaled_rows as scaled_rows,
    )
    from paramgraph.graphs.affinity.inner_product import (
        nearest_neighbours as nearest_neighbours,
        neighbour_pairs as neighbour_pairs,
        pair_similarity as pair_similarity,
    )
    from paramgraph.graphs.affinity.neighbour_builder import NeighbourBuilder as NeighbourBuilder

if not TYPE_CHECKING:
    __getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
