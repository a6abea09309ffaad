"""Study: methods, runs, evaluation and records."""

from typing import TYPE_CHECKING

from paramgraph._lazy import lazy_names

if TYPE_CHECKING:
    from spectral_opt.study.evaluation import (
        accuracy_interval as accuracy_interval,
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
    from spectral_opt.study.records import RunRecord as RunRecord, append_record as append_record
    from spectral_opt.study.tuned_inputs import open_inputs as open_inputs

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
