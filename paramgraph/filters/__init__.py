"""Filters: responses on eigenvalues, and what applies them."""

from typing import TYPE_CHECKING

from paramgraph._lazy import lazy_names

if TYPE_CHECKING:
    from paramgraph.filters._bank import apply_filter_bank as apply_filter_bank
    from paramgraph.filters._contrast_filter import ContrastFilter as ContrastFilter, contrast as contrast
    from paramgraph.filters._product_graph import ProductGraph as ProductGraph
    from paramgraph.filters._wavelets import wavelets as wavelets
    from paramgraph.filters.design import (
        EXACT_NODES as EXACT_NODES,
        METHODS as METHODS,
        FilterDesign as FilterDesign,
    )
    from paramgraph.filters.filters import apply_filter as apply_filter, prepare_filter as prepare_filter
    from paramgraph.filters.graph_filter import GraphFilter as GraphFilter
    from paramgraph.filters.measured_response import (
        MeasuredResponse as MeasuredResponse,
        measured_steps as measured_steps,
    )
    from paramgraph.filters.polynomial_design import (
        AUTO_ERROR as AUTO_ERROR,
        design_polynomial as design_polynomial,
    )
    from paramgraph.filters.product_filter import (
        ProductFilter as ProductFilter,
        prepare_product_filter as prepare_product_filter,
    )
    from paramgraph.filters.response import Response as Response, evaluate_response as evaluate_response
    from paramgraph.filters.response_algebra import Combination as Combination
    from paramgraph.filters.responses import (
        RESPONSES as RESPONSES,
        bandpass as bandpass,
        get_response as get_response,
        heat as heat,
        highpass as highpass,
        identity as identity,
        list_responses as list_responses,
        lowpass as lowpass,
        tikhonov as tikhonov,
    )

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
