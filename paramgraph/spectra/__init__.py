r"""Spectra: the matrices whose eigenvalues are a graph's frequencies, and their eigenpairs.

A graph becomes a shift operator; `eigenpairs` cuts it into components, writes its null space down, solves the rest by
the solver that suits it (one file each in `solvers/`), and says in the result what ran and why, with residuals and, if
asked, a proof that no eigenvalue was passed over. Two operators make a pencil, or a Kronecker sum or product, which is
never formed.

* from a graph: `laplacian`, `adjacency`, `zero_operator`, of a full matrix without a copy `full_adjacency`; what they
  give, a `ShiftOperator`
* `eigenpairs`, `list_solvers`, `generalized_eigenpairs`, and what they give, a `Spectrum`; without vectors
  `smallest_eigenvalue` and `second_eigenvalue`, `is_proven_above`
* scalars as nodes: `KroneckerSum` and `KroneckerProduct`, each a `KroneckerPair`, and `KroneckerModes` with eigenvalues
  of their own: all are a `KroneckerOperator`; `product_modes`, `product_eigenpairs`, `ProductModes`
* a control of the same spectrum: `null_operator`, of a kind `Null`
* a solver's author: `EigenProblem`, `SolverResult`, `Solver`; to build on, `flip`, `largest_pairs` and
  `lanczos_refusal` of Lanczos, `solve_block` and `block_refusal` of LOBPCG
* what acts on signals: `SignalOperator`; `wide`, `working_dtype`, `keep_tensor`, `linear_product`, `sparse_tensor`
* what is refused, and which call makes it: `check_operator`, `check_spectrum`, `check_signal`
* how much a factor fills in: `estimate_fill_in`, `FillIn`
* inside, for tests and neighbours: `count_pairs`, `check_pencil`, `certify_count`, `choose_solvers`, `smallest_pairs`,
  `fix_signs`
* words: `Kind`, `Normalization`, `Seed`
"""

from typing import TYPE_CHECKING

from paramgraph._lazy import lazy_names

if TYPE_CHECKING:
    from paramgraph.spectra._block_gradients import block_refusal as block_refusal, solve_block as solve_block
    from paramgraph.spectra._certificate import certify_count as certify_count
    from paramgraph.spectra._lanczos import (
        flip as flip,
        lanczos_refusal as lanczos_refusal,
        largest_pairs as largest_pairs,
    )
    from paramgraph.spectra._solver_choice import (
        choose_solvers as choose_solvers,
        list_solvers as list_solvers,
    )
    from paramgraph.spectra.eigenproblem import (
        EigenProblem as EigenProblem,
        Solver as Solver,
        SolverResult as SolverResult,
    )
    from paramgraph.spectra.eigensolve import (
        Seed as Seed,
        count_pairs as count_pairs,
        eigenpairs as eigenpairs,
        is_proven_above as is_proven_above,
        second_eigenvalue as second_eigenvalue,
        smallest_eigenvalue as smallest_eigenvalue,
    )
    from paramgraph.spectra.fill_in import FillIn as FillIn, estimate_fill_in as estimate_fill_in
    from paramgraph.spectra.generalized import (
        check_pencil as check_pencil,
        generalized_eigenpairs as generalized_eigenpairs,
    )
    from paramgraph.spectra.kronecker_modes import KroneckerModes as KroneckerModes
    from paramgraph.spectra.kronecker_operator import (
        KroneckerOperator as KroneckerOperator,
        KroneckerPair as KroneckerPair,
    )
    from paramgraph.spectra.kronecker_product import KroneckerProduct as KroneckerProduct
    from paramgraph.spectra.kronecker_sum import KroneckerSum as KroneckerSum
    from paramgraph.spectra.nulls import Null as Null, null_operator as null_operator
    from paramgraph.spectra.product_spectrum import (
        ProductModes as ProductModes,
        product_eigenpairs as product_eigenpairs,
        product_modes as product_modes,
        smallest_pairs as smallest_pairs,
    )
    from paramgraph.spectra.shift_operator import (
        Kind as Kind,
        Normalization as Normalization,
        ShiftOperator as ShiftOperator,
        SignalOperator as SignalOperator,
        check_operator as check_operator,
        sparse_tensor as sparse_tensor,
    )
    from paramgraph.spectra.shifts import (
        adjacency as adjacency,
        full_adjacency as full_adjacency,
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
        Spectrum as Spectrum,
        check_spectrum as check_spectrum,
        fix_signs as fix_signs,
    )

if not TYPE_CHECKING:
    __getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
