"""Comparison: which graph of a model's parameters carries anything; builders x sources x layers, beside their nulls.

`compare` checks what was asked, pairs builders with sources (`plan_constructions`) and draws which batches build and
which measure. Layer after layer (`_layer_loop`) it then goes the same way: features and a signal are read
(`_layer_reading`), each construction becomes a graph with its spectrum (`_layer_comparison`), where the signal's energy
and noise lie in it is measured beside the nulls (`_measurement`, `_evidence`), and the finished layer is put on disk
with what it came from (`_store`, `_contents`). All layers are pooled into one row for each construction and one
sentence (`_summary`); with what the record says of itself (`_setting`) they are the `Comparison`, whose tables, figures
and page stand in `report`.

- Compare: `compare` gives a `Comparison`; `DEFAULT_BUILDERS` is what it takes without builders.
- Verify: `verify_records` holds records (`read_records`) against themselves, and measures random cells again, within
  `TOLERANCES`.

Inside, for tests and for who builds the like, step by step:

- Asked: `MeasurementOptions`, `check_comparison`, `check_signal`, `choose_signal`, `choose_tables`, `Signal`; which
  batches do what: `list_batches`, `split_batches`; which constructions a layer takes: `buildable_constructions`.
- Measured: `LayerReader`, `measure_construction`, `energy_by_band`, `noise_by_band`, `noise_facts`, `permuted_noise`,
  `compaction_beside_nulls`, `rewired_compaction`, `shift_of`, `add_p_values`.
- Kept and summed up: `ComparisonStore`, `LAYERS_FILE`, `plain`, `name_of_model`, `python_line`;
  `summarize`, `POOLED`, `holm`, `best_drawing`; what it comes to: `carries`, `verdict`.
"""

from typing import TYPE_CHECKING

from paramgraph._lazy import lazy_names

if TYPE_CHECKING:
    from paramgraph.comparison._batch_split import (
        list_batches as list_batches,
        split_batches as split_batches,
    )
    from paramgraph.comparison._compare import compare as compare
    from paramgraph.comparison._constructions import (
        DEFAULT_BUILDERS as DEFAULT_BUILDERS,
        buildable_constructions as buildable_constructions,
        plan_constructions as plan_constructions,
    )
    from paramgraph.comparison._evidence import (
        compaction_beside_nulls as compaction_beside_nulls,
        energy_by_band as energy_by_band,
        noise_by_band as noise_by_band,
        noise_facts as noise_facts,
        permuted_noise as permuted_noise,
        rewired_compaction as rewired_compaction,
        shift_of as shift_of,
    )
    from paramgraph.comparison._layer_loop import choose_tables as choose_tables
    from paramgraph.comparison._layer_reading import LayerReader as LayerReader, Signal as Signal
    from paramgraph.comparison._measurement import (
        POOLED as POOLED,
        add_p_values as add_p_values,
        measure_construction as measure_construction,
    )
    from paramgraph.comparison._options import (
        MeasurementOptions as MeasurementOptions,
        check_comparison as check_comparison,
        check_signal as check_signal,
        choose_signal as choose_signal,
    )
    from paramgraph.comparison._setting import (
        name_of_model as name_of_model,
        python_line as python_line,
    )
    from paramgraph.comparison._store import (
        LAYERS_FILE as LAYERS_FILE,
        ComparisonStore as ComparisonStore,
        plain as plain,
    )
    from paramgraph.comparison._summary import (
        best_drawing as best_drawing,
        carries as carries,
        holm as holm,
        summarize as summarize,
        verdict as verdict,
    )
    from paramgraph.comparison.result import Comparison as Comparison
    from paramgraph.comparison.verification import (
        TOLERANCES as TOLERANCES,
        read_records as read_records,
        verify_records as verify_records,
    )

if not TYPE_CHECKING:
    __getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
