"""Spectra: shift operators, their eigenpairs and certificates, Kronecker sums."""

from typing import TYPE_CHECKING

from paramgraph._lazy import lazy_names

if TYPE_CHECKING:
    from paramgraph.spectra._block_gradients import block_refusal as block_refusal, solve_block as solve_block
    from paramgraph.spectra._lanczos import largest_pairs as largest_pairs
    from paramgraph.spectra._solver_choice import list_solvers as list_solvers
    from paramgraph.spectra.eigensolve import count_pairs as count_pairs, eigenpairs as eigenpairs
    from paramgraph.spectra.fill_in import FillIn as FillIn, estimate_fill_in as estimate_fill_in
    from paramgraph.spectra.generalized import generalized_eigenpairs as generalized_eigenpairs
    from paramgraph.spectra.kronecker_sum import KroneckerSum as KroneckerSum
    from paramgraph.spectra.pencil_check import check_pencil as check_pencil
    from paramgraph.spectra.product_spectrum import (
        ProductModes as ProductModes,
        product_eigenpairs as product_eigenpairs,
        product_modes as product_modes,
        smallest_sums as smallest_sums,
    )
    from paramgraph.spectra.shift_operator import (
        ShiftOperator as ShiftOperator,
        SignalOperator as SignalOperator,
        sparse_tensor as sparse_tensor,
    )
    from paramgraph.spectra.shifts import (
        adjacency as adjacency,
        laplacian as laplacian,
        zero_operator as zero_operator,
    )
    from paramgraph.spectra.signals import (
        check_signal as check_signal,
        keep_tensor as keep_tensor,
        linear_product as linear_product,
        wide as wide,
        working_dtype as working_dtype,
    )
    from paramgraph.spectra.spectrum import (
        EigenProblem as EigenProblem,
        SolverResult as SolverResult,
        Spectrum as Spectrum,
        fix_signs as fix_signs,
    )

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
