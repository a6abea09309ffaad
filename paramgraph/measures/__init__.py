"""Measures: energy, signal-to-noise, lift, nulls, and agreement of graphs."""

from typing import TYPE_CHECKING

from paramgraph._lazy import lazy_names

if TYPE_CHECKING:
    from paramgraph.measures._clusters import (
        ClusteringAgreement as ClusteringAgreement,
        clustering_agreement as clustering_agreement,
    )
    from paramgraph.measures._subspaces import (
        SubspaceAlignment as SubspaceAlignment,
        subspace_alignment as subspace_alignment,
    )
    from paramgraph.measures.band_pooling import pool_bands as pool_bands
    from paramgraph.measures.band_statistics import (
        FIFTHS as FIFTHS,
        LOW_BANDS as LOW_BANDS,
        BandStatistics as BandStatistics,
        band_edges as band_edges,
        jackknife_statistics as jackknife_statistics,
        projected_statistics as projected_statistics,
        signal_to_noise as signal_to_noise,
    )
    from paramgraph.measures.batch_gain import (
        BatchGain as BatchGain,
        effective_batch_gain as effective_batch_gain,
    )
    from paramgraph.measures.eigenvalues import (
        algebraic_connectivity as algebraic_connectivity,
        spectral_distance as spectral_distance,
    )
    from paramgraph.measures.energy import (
        band_energy as band_energy,
        compaction as compaction,
        mode_energy as mode_energy,
        mode_signal_to_noise as mode_signal_to_noise,
        smoothness as smoothness,
        spectral_gap as spectral_gap,
    )
    from paramgraph.measures.graph_agreement import (
        EdgeAgreement as EdgeAgreement,
        edge_agreement as edge_agreement,
    )
    from paramgraph.measures.lift import BandLift as BandLift, band_lift as band_lift
    from paramgraph.measures.nulls import (
        GramSums as GramSums,
        permuted_moments as permuted_moments,
        rotated_moments as rotated_moments,
    )
    from paramgraph.measures.permutation_draws import (
        narrow as narrow,
        permutation_p_value as permutation_p_value,
        permuted_energies as permuted_energies,
    )
    from paramgraph.measures.projection import (
        ProjectedGradients as ProjectedGradients,
        project_gradients as project_gradients,
        project_signal as project_signal,
    )
    from paramgraph.measures.response_estimation import measured as measured

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
