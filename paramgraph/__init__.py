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

from paramgraph._lazy import lazy_exports, typed_imports

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
    from paramgraph.cache import GraphCache as GraphCache
    from paramgraph.comparison._compare import compare as compare
    from paramgraph.comparison.result import Comparison as Comparison
    from paramgraph.construct import build as build, connect as connect
    from paramgraph.errors import (
        NotConvergedError as NotConvergedError,
        NumericalWarning as NumericalWarning,
        PerformanceWarning as PerformanceWarning,
        UnknownNameError as UnknownNameError,
    )
    from paramgraph.filters._bank import apply_filter_bank as apply_filter_bank
    from paramgraph.filters._contrast_filter import ContrastFilter as ContrastFilter, contrast as contrast
    from paramgraph.filters._product_graph import ProductGraph as ProductGraph
    from paramgraph.filters._wavelets import wavelets as wavelets
    from paramgraph.filters.filters import (
        GraphFilter as GraphFilter,
        apply_filter as apply_filter,
        prepare_filter as prepare_filter,
    )
    from paramgraph.filters.measured_response import (
        MeasuredResponse as MeasuredResponse,
        measured_steps as measured_steps,
    )
    from paramgraph.filters.product_filter import ProductFilter as ProductFilter
    from paramgraph.filters.responses import (
        bandpass as bandpass,
        get_response as get_response,
        heat as heat,
        highpass as highpass,
        identity as identity,
        list_responses as list_responses,
        lowpass as lowpass,
        tikhonov as tikhonov,
    )
    from paramgraph.graphs.registry import (
        get_builder as get_builder,
        list_builders as list_builders,
        register as register,
    )
    from paramgraph.graphs.repair import (
        check_graph as check_graph,
        connected_components as connected_components,
        graph_from_networkx as graph_from_networkx,
        graph_from_scipy as graph_from_scipy,
        graph_to_networkx as graph_to_networkx,
        graph_to_scipy as graph_to_scipy,
        symmetrize as symmetrize,
    )
    from paramgraph.measures._clusters import (
        ClusteringAgreement as ClusteringAgreement,
        clustering_agreement as clustering_agreement,
    )
    from paramgraph.measures._subspaces import (
        SubspaceAlignment as SubspaceAlignment,
        subspace_alignment as subspace_alignment,
    )
    from paramgraph.measures.band_pooling import pool_bands as pool_bands
    from paramgraph.measures.batch_gain import (
        BatchGain as BatchGain,
        effective_batch_gain as effective_batch_gain,
    )
    from paramgraph.measures.eigenvalues import (
        algebraic_connectivity as algebraic_connectivity,
        spectral_distance as spectral_distance,
    )
    from paramgraph.measures.energy import (
        BandStatistics as BandStatistics,
        band_energy as band_energy,
        compaction as compaction,
        mode_energy as mode_energy,
        mode_signal_to_noise as mode_signal_to_noise,
        signal_to_noise as signal_to_noise,
        smoothness as smoothness,
        spectral_gap as spectral_gap,
    )
    from paramgraph.measures.graph_agreement import (
        EdgeAgreement as EdgeAgreement,
        edge_agreement as edge_agreement,
    )
    from paramgraph.measures.lift import BandLift as BandLift, band_lift as band_lift
    from paramgraph.measures.projection import (
        ProjectedGradients as ProjectedGradients,
        project_gradients as project_gradients,
    )
    from paramgraph.measures.response_estimation import measured as measured
    from paramgraph.nodes._head_scheme import heads as heads
    from paramgraph.nodes._matrix_schemes import blocks as blocks, columns as columns, rows as rows
    from paramgraph.nodes.graph_data import ParameterGraph as ParameterGraph
    from paramgraph.nodes.layer_scheme import layers as layers
    from paramgraph.nodes.schemes import list_schemes as list_schemes, node_tables as node_tables
    from paramgraph.nodes.table import NodeTable as NodeTable, ParameterSlice as ParameterSlice
    from paramgraph.plotting._spectrum_drawing import draw_spectrum as draw_spectrum
    from paramgraph.plotting.graph_drawing import draw_graph as draw_graph
    from paramgraph.sources.collection import (
        collect as collect,
        collect_batch_gradients as collect_batch_gradients,
        source_refusal as source_refusal,
    )
    from paramgraph.sources.parameter_updates import updates as updates
    from paramgraph.sources.table_features import (
        activations as activations,
        attention_maps as attention_maps,
        gradients as gradients,
        weights as weights,
    )
    from paramgraph.spectra._solver_choice import list_solvers as list_solvers
    from paramgraph.spectra.eigensolve import eigenpairs as eigenpairs
    from paramgraph.spectra.generalized import generalized_eigenpairs as generalized_eigenpairs
    from paramgraph.spectra.product_spectrum import ProductModes as ProductModes
    from paramgraph.spectra.shifts import (
        ShiftOperator as ShiftOperator,
        adjacency as adjacency,
        laplacian as laplacian,
    )
    from paramgraph.spectra.spectrum import Spectrum as Spectrum

__version__ = "0.1.0.dev0"

__getattr__, __dir__ = lazy_exports(__name__, typed_imports(__name__, __file__))
__all__ = __dir__()
