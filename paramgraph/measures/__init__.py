"""Measures: what the modes of a graph gather of a signal, and how far two graphs are the same.

A signal (a gradient, an update, weights) is projected on a spectrum once. What lies in its bands is an energy; several
batches part it into signal and noise, pooled over matrices by `pool_bands`; the lift and the gain say what a filter
could make of that, `measured` gives that filter. Beside every energy stands what chance would give.

- A signal on a spectrum: `mode_energy`, `band_energy`, `compaction`, `smoothness`, `project_signal`; of the spectrum
  alone `spectral_gap`, and `band_modes`, the modes of a band.
- Signal against noise: `signal_to_noise`, `mode_signal_to_noise`, `pool_bands`, each giving `BandStatistics`;
  `project_gradients` of `BatchGradients` (to `ProjectedGradients`), `projected_statistics` and `jackknife_statistics`
  are its steps, `Bands`, `band_edges`, `FIFTHS` and `LOW_BANDS` its bands; it needs `FEWEST_BATCHES`.
- What that is worth: `band_lift` (a `BandLift`), `effective_batch_gain` (a `BatchGain`), `measured`.
- Energy of texts' gradients in the modes of a product of two graphs: `product_energy`, of `ModeEnergy`, and by bands
  `EnergyBands`. Gram graphs at layers without a feature of them: `second_moments`, of `SecondMoments`, for the schemes
  and sources of `MOMENTS`, summed in blocks of `BLOCK`.
- Chance: `permuted_moments`, `rotated_moments` (exact, from `GramSums`; `narrow` makes a wide signal small),
  `permuted_energies`, `permuted_signal_and_noise`, `permutation_p_value`.
- Two graphs, or one and labels: `edge_agreement`, `subspace_alignment`, `clustering_agreement`, which give an
  `EdgeAgreement`, a `SubspaceAlignment` and a `ClusteringAgreement`; `spectral_distance`; of one graph
  `algebraic_connectivity`.
"""

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
    from paramgraph.measures.band_statistics import (
        FEWEST_BATCHES as FEWEST_BATCHES,
        FIFTHS as FIFTHS,
        LOW_BANDS as LOW_BANDS,
        Bands as Bands,
        BandStatistics as BandStatistics,
        band_edges as band_edges,
        jackknife_statistics as jackknife_statistics,
        pool_bands as pool_bands,
        projected_statistics as projected_statistics,
        signal_to_noise as signal_to_noise,
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
    from paramgraph.measures.kronecker_energy import (
        EnergyBands as EnergyBands,
        ModeEnergy as ModeEnergy,
        product_energy as product_energy,
    )
    from paramgraph.measures.layer_moments import (
        BLOCK as BLOCK,
        MOMENTS as MOMENTS,
        SecondMoments as SecondMoments,
        second_moments as second_moments,
    )
    from paramgraph.measures.lift import (
        BandLift as BandLift,
        BatchGain as BatchGain,
        band_lift as band_lift,
        effective_batch_gain as effective_batch_gain,
    )
    from paramgraph.measures.nulls import (
        GramSums as GramSums,
        narrow as narrow,
        permutation_p_value as permutation_p_value,
        permuted_energies as permuted_energies,
        permuted_moments as permuted_moments,
        permuted_signal_and_noise as permuted_signal_and_noise,
        rotated_moments as rotated_moments,
    )
    from paramgraph.measures.projection import (
        BatchGradients as BatchGradients,
        ProjectedGradients as ProjectedGradients,
        band_modes as band_modes,
        project_gradients as project_gradients,
        project_signal as project_signal,
    )
    from paramgraph.measures.response_estimation import measured as measured

if not TYPE_CHECKING:
    __getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
