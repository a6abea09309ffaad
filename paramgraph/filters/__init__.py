r"""Filters: a response on the eigenvalues, and what applies it to signals.

A response is any callable h on eigenvalues; named ones are values that can be compared, added and multiplied. With a
shift operator it becomes a filter that is ready for any number of signals, by the method that suits the graph:

.. math:: h(L) X = X + U (h(\Lambda) - I) U^T X

* responses by name: `heat`, `tikhonov`, `power`, `lowpass`, `highpass`, `bandpass`, `identity`; `wavelets` for a bank
  of them; `measured_steps` for one that was measured, a `MeasuredResponse`; `get_response`, `list_responses`,
  `response_options`, `RESPONSES` for all names
* what a response is: `Response`, `Combination`, `ResponseFunction`, `evaluate_response`
* filters of one graph: `prepare_filter`, `apply_filter`, `apply_filter_bank`; of their options `Method`,
  `METHODS`, `Tail`, and `EXACT_NODES`, up to which "auto" takes all modes; for spectra that are given to them,
  `pairs_for_rank`, and `eigenvalue_rounding`, within which an eigenvalue is at a cut-off
* of two graphs: `ProductGraph` on the entries of a matrix, of a `ProductKind`; `contrast` of a task and of what is to
  be preserved
* what is ready: `ReadyFilter`, which `GraphFilter`, `ProductFilter` and `ContrastFilter` are; `FilterDesign`
* a linear system: `solve_shifted`
* inside, for tests: wavelets (`meyer`, `itersine`, `mexican_hat`), expansions (`design_polynomial`,
  `chebyshev_coefficients`, `chebyshev_errors`, `chebyshev_remainder`, `jackson_damping`, `AUTO_ERROR`), recurrences
  (`chebyshev_product`, `chebyshev_products`), factorizations (`prepare_solve`, `factor_is_cheap`),
  `prepare_product_filter`
"""

from typing import TYPE_CHECKING

from paramgraph._lazy import lazy_names

if TYPE_CHECKING:
    from paramgraph.filters._bank import apply_filter_bank as apply_filter_bank
    from paramgraph.filters._chebyshev import (
        AUTO_ERROR as AUTO_ERROR,
        chebyshev_coefficients as chebyshev_coefficients,
        chebyshev_errors as chebyshev_errors,
        chebyshev_remainder as chebyshev_remainder,
        design_polynomial as design_polynomial,
        jackson_damping as jackson_damping,
    )
    from paramgraph.filters._chebyshev_recurrence import (
        chebyshev_product as chebyshev_product,
        chebyshev_products as chebyshev_products,
    )
    from paramgraph.filters._choice import (
        EXACT_NODES as EXACT_NODES,
        METHODS as METHODS,
        Method as Method,
        Tail as Tail,
        pairs_for_rank as pairs_for_rank,
    )
    from paramgraph.filters._contrast_filter import ContrastFilter as ContrastFilter, contrast as contrast
    from paramgraph.filters._linear_solve import (
        factor_is_cheap as factor_is_cheap,
        prepare_solve as prepare_solve,
        solve_shifted as solve_shifted,
    )
    from paramgraph.filters._product_graph import ProductGraph as ProductGraph, ProductKind as ProductKind
    from paramgraph.filters._rounding import eigenvalue_rounding as eigenvalue_rounding
    from paramgraph.filters._wavelets import (
        itersine as itersine,
        mexican_hat as mexican_hat,
        meyer as meyer,
        wavelets as wavelets,
    )
    from paramgraph.filters.design import FilterDesign as FilterDesign
    from paramgraph.filters.graph_filter import (
        GraphFilter as GraphFilter,
        apply_filter as apply_filter,
        prepare_filter as prepare_filter,
    )
    from paramgraph.filters.measured_response import (
        MeasuredResponse as MeasuredResponse,
        measured_steps as measured_steps,
    )
    from paramgraph.filters.product_filter import (
        ProductFilter as ProductFilter,
        prepare_product_filter as prepare_product_filter,
    )
    from paramgraph.filters.ready_filter import ReadyFilter as ReadyFilter
    from paramgraph.filters.response import (
        Response as Response,
        ResponseFunction as ResponseFunction,
        evaluate_response as evaluate_response,
    )
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
        power as power,
        response_options as response_options,
        tikhonov as tikhonov,
    )

if not TYPE_CHECKING:
    __getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
