"""Affinity: exact neighbours and correlations of nodes, and the edges between them."""

from typing import TYPE_CHECKING

from paramgraph._lazy import lazy_names

if TYPE_CHECKING:
    from paramgraph.graphs.affinity.candidates import (
        CandidateSearch as CandidateSearch,
        check_search as check_search,
    )
    from paramgraph.graphs.affinity.component_links import (
        CONNECTIONS as CONNECTIONS,
        cosine_outside as cosine_outside,
        distance_outside as distance_outside,
        join_by_cosine as join_by_cosine,
        joining_pairs as joining_pairs,
    )
    from paramgraph.graphs.affinity.correlation_estimates import (
        partial_correlations as partial_correlations,
        shrunk_rows as shrunk_rows,
    )
    from paramgraph.graphs.affinity.edges import (
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
    from paramgraph.graphs.affinity.graphical_lasso import sparse_precision as sparse_precision
    from paramgraph.graphs.affinity.inner_product import (
        GRID as GRID,
        check_neighbours as check_neighbours,
        nearest_neighbours as nearest_neighbours,
        pair_similarity as pair_similarity,
    )

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
