"""Study: what a way to fine-tune is, one run of it, what the result is worth, and a line of record for each run.

A `Method` is a file in `methods/` with the configurations that are attached to AdamW. `prepare_method` builds its
graphs once, `fine_tune` runs it on a copy of a model, the measures say what the tuned copy is worth beside another, and
`append_record` writes a `RunRecord` at once.

- Methods: `Method`, `get_method`, `list_methods`; to add one, add a file with a `METHOD` to `methods/`.
- Runs: `prepare_method`, `fine_tune`, `FineTuned`, `TrainingDivergedError`.
- Measures: `accuracy_interval`, `paired_p_value`, `retention`, `neighbours_kept`, `relative_drift`.
- Records: `RunRecord`, its `Stage`, `append_record`; files of results: `write_results`.
- `open_inputs`: what `paramgraph compare` runs on, with a fine-tuned copy where that is asked for; the entry point
  `paramgraph.inputs` names its file.
"""

from typing import TYPE_CHECKING

from paramgraph._lazy import lazy_names

if TYPE_CHECKING:
    from spectral_opt.study.evaluation import (
        accuracy_interval as accuracy_interval,
        neighbours_kept as neighbours_kept,
        paired_p_value as paired_p_value,
        relative_drift as relative_drift,
        retention as retention,
    )
    from spectral_opt.study.fine_tuning import (
        FineTuned as FineTuned,
        TrainingDivergedError as TrainingDivergedError,
        fine_tune as fine_tune,
        prepare_method as prepare_method,
    )
    from spectral_opt.study.method import (
        Method as Method,
        get_method as get_method,
        list_methods as list_methods,
    )
    from spectral_opt.study.records import (
        RunRecord as RunRecord,
        Stage as Stage,
        append_record as append_record,
        write_results as write_results,
    )
    from spectral_opt.study.tuned_inputs import open_inputs as open_inputs

if not TYPE_CHECKING:
    __getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
