"""Preparation: from a config and batches to tables that are ready to train.

A model and a config give tables of nodes; one pass over the calibration batches gives the features of all of them;
a builder makes a graph of each, and the graph an operator and a filter. What comes out, a tuple of `PreparedTable`, is
all that training, explanation and refinement read; it goes to tensors and back.

Matching: `as_configs`, `bare_model`, `match_tables`; beside frozen matrices `adapter_tables`, whose tables are
`FactorTable`s (`measured_table`, `config_on`, `keeps_few_modes`), and `check_starts`, `low_rank_scale`,
`starts_with_an_update`.
Calibration: `CalibrationBatches` and `CalibrationLoss` as users give them, `calibration_sets`, `loss_on` a set,
`check_calibration`, `check_filled`, `needs_batches`, `reads_features`, `listed`, `effective_texts`; the source of each
side with its options, `source_of`, and whether its graph is a matrix of second moments, `is_moment_gram`.
What to say of what was measured: `told_texts`, `told_factors`.
Preparing: `prepare`, `prepare_tables`, `make_filter`, the eigenpairs that it needs: `filter_spectrum`; the value
`PreparedTable`, the operator `EntryOperator`; what has no graph is left alone, `table_left_alone`, for a reason,
`UNREACHED` (`is_unreached`) or another, which one of the `FAILURES` gives, of numbers alone `NUMERIC_FAILURES`,
`told_reasons`; which cannot have one, before anything is measured, `refused_tables`, and that something is left,
`check_left`;
filters of any response in a complete basis, `basis_filters` where `is_basis_worth` it.
Who builds graphs: `choose_graph_workers`, `check_graph_workers`, and what they have no part in, `told_in_common`. On
several ranks: `prepare_on_ranks`, `collect_on_ranks`.
As tensors: `table_tensors`, `restore_table`, `encode_text`, `decode_text`.
"""

from typing import TYPE_CHECKING

from paramgraph._lazy import lazy_names

if TYPE_CHECKING:
    from spectral_opt.preparation._entries import (
        told_texts as told_texts,
    )
    from spectral_opt.preparation.adapter_layers import (
        low_rank_scale as low_rank_scale,
        starts_with_an_update as starts_with_an_update,
    )
    from spectral_opt.preparation.adapters import (
        adapter_tables as adapter_tables,
        check_starts as check_starts,
    )
    from spectral_opt.preparation.calibration import (
        CalibrationBatches as CalibrationBatches,
        CalibrationLoss as CalibrationLoss,
        calibration_sets as calibration_sets,
        check_calibration as check_calibration,
        check_filled as check_filled,
        effective_texts as effective_texts,
        is_moment_gram as is_moment_gram,
        listed as listed,
        loss_on as loss_on,
        needs_batches as needs_batches,
        reads_features as reads_features,
        source_of as source_of,
    )
    from spectral_opt.preparation.factor_table import (
        FactorTable as FactorTable,
        config_on as config_on,
        keeps_few_modes as keeps_few_modes,
        measured_table as measured_table,
        told_factors as told_factors,
    )
    from spectral_opt.preparation.graph_workers import (
        check_graph_workers as check_graph_workers,
        choose_graph_workers as choose_graph_workers,
        told_in_common as told_in_common,
    )
    from spectral_opt.preparation.matching import (
        as_configs as as_configs,
        bare_model as bare_model,
        match_tables as match_tables,
    )
    from spectral_opt.preparation.on_ranks import (
        collect_on_ranks as collect_on_ranks,
        prepare_on_ranks as prepare_on_ranks,
    )
    from spectral_opt.preparation.prepared_table import (
        FAILURES as FAILURES,
        NUMERIC_FAILURES as NUMERIC_FAILURES,
        UNREACHED as UNREACHED,
        EntryOperator as EntryOperator,
        PreparedTable as PreparedTable,
        is_unreached as is_unreached,
        table_left_alone as table_left_alone,
        told_reasons as told_reasons,
    )
    from spectral_opt.preparation.preparing import (
        basis_filters as basis_filters,
        check_left as check_left,
        filter_spectrum as filter_spectrum,
        is_basis_worth as is_basis_worth,
        make_filter as make_filter,
        prepare as prepare,
        prepare_tables as prepare_tables,
        refused_tables as refused_tables,
    )
    from spectral_opt.preparation.table_state import (
        decode_text as decode_text,
        encode_text as encode_text,
        restore_table as restore_table,
        table_tensors as table_tensors,
    )

if not TYPE_CHECKING:
    __getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
