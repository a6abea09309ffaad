"""Graphs of neural-network parameters and their spectra.

Data flows one way: a model gives a table of nodes, a source gives the nodes features, a builder turns features
into a graph, a shift operator has a spectrum, and a response on its eigenvalues is a filter.

>>> import paramgraph, torch
>>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
>>> table = paramgraph.rows(model)["0.weight"]
>>> graph = paramgraph.build(model, table, "cosine_knn", k=3)
>>> spectrum = paramgraph.eigenpairs(paramgraph.laplacian(graph))
>>> spectrum.eigenvalues.shape
torch.Size([8])
"""

from typing import TYPE_CHECKING

from paramgraph._lazy import lazy_names

if TYPE_CHECKING:
    from paramgraph.builders import (
        AttentionHead as AttentionHead,
        Complete as Complete,
        Correlation as Correlation,
        CosineKNN as CosineKNN,
        GaussianKNN as GaussianKNN,
        Gram as Gram,
        LayerAdjacency as LayerAdjacency,
        Permuted as Permuted,
        RandomRewired as RandomRewired,
        Ring as Ring,
        Rotated as Rotated,
    )
    from paramgraph.cache import GraphCache as GraphCache
    from paramgraph.comparison import Comparison as Comparison, compare as compare
    from paramgraph.construct import build as build, connect as connect
    from paramgraph.errors import (
        NotConvergedError as NotConvergedError,
        NumericalWarning as NumericalWarning,
        PerformanceWarning as PerformanceWarning,
        UnknownNameError as UnknownNameError,
    )
    from paramgraph.filters import (
        ContrastFilter as ContrastFilter,
        GraphFilter as GraphFilter,
        MeasuredResponse as MeasuredResponse,
        ProductFilter as ProductFilter,
        ProductGraph as ProductGraph,
        apply_filter as apply_filter,
        apply_filter_bank as apply_filter_bank,
        bandpass as bandpass,
        contrast as contrast,
        get_response as get_response,
        heat as heat,
        highpass as highpass,
        identity as identity,
        list_responses as list_responses,
        lowpass as lowpass,
        measured_steps as measured_steps,
        power as power,
        prepare_filter as prepare_filter,
        tikhonov as tikhonov,
        wavelets as wavelets,
    )
    from paramgraph.graphs import (
        check_graph as check_graph,
        connected_components as connected_components,
        get_builder as get_builder,
        graph_from_networkx as graph_from_networkx,
        graph_from_scipy as graph_from_scipy,
        graph_to_networkx as graph_to_networkx,
        graph_to_scipy as graph_to_scipy,
        list_builders as list_builders,
        register as register,
        symmetrize as symmetrize,
    )
    from paramgraph.measures import (
        BandLift as BandLift,
        BandStatistics as BandStatistics,
        BatchGain as BatchGain,
        ClusteringAgreement as ClusteringAgreement,
        EdgeAgreement as EdgeAgreement,
        EnergyBands as EnergyBands,
        ModeEnergy as ModeEnergy,
        ProjectedGradients as ProjectedGradients,
        SubspaceAlignment as SubspaceAlignment,
        algebraic_connectivity as algebraic_connectivity,
        band_energy as band_energy,
        band_lift as band_lift,
        clustering_agreement as clustering_agreement,
        compaction as compaction,
        edge_agreement as edge_agreement,
        effective_batch_gain as effective_batch_gain,
        measured as measured,
        mode_energy as mode_energy,
        mode_signal_to_noise as mode_signal_to_noise,
        pool_bands as pool_bands,
        product_energy as product_energy,
        project_gradients as project_gradients,
        signal_to_noise as signal_to_noise,
        smoothness as smoothness,
        spectral_distance as spectral_distance,
        spectral_gap as spectral_gap,
        subspace_alignment as subspace_alignment,
    )
    from paramgraph.nodes import (
        Coverage as Coverage,
        NodeTable as NodeTable,
        ParameterGraph as ParameterGraph,
        ParameterSlice as ParameterSlice,
        blocks as blocks,
        columns as columns,
        coverage as coverage,
        heads as heads,
        layers as layers,
        list_schemes as list_schemes,
        node_tables as node_tables,
        rows as rows,
    )
    from paramgraph.plotting import draw_graph as draw_graph, draw_spectrum as draw_spectrum
    from paramgraph.sources import (
        activations as activations,
        attention_maps as attention_maps,
        collect as collect,
        collect_batch_gradients as collect_batch_gradients,
        gradients as gradients,
        output_gradients as output_gradients,
        source_refusal as source_refusal,
        updates as updates,
        weights as weights,
    )
    from paramgraph.spectra import (
        ProductModes as ProductModes,
        ShiftOperator as ShiftOperator,
        Spectrum as Spectrum,
        adjacency as adjacency,
        eigenpairs as eigenpairs,
        generalized_eigenpairs as generalized_eigenpairs,
        laplacian as laplacian,
        list_solvers as list_solvers,
    )

__version__ = "0.1.0.dev0"

if not TYPE_CHECKING:
    __getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
