"""The strength sweep of a refinement: what a strength costs on the task, and what it brings back.

`make_refinement` finds models and texts by `RefinementOptions`; a `Sweep` builds the graphs once, measures base,
fine-tune, filter, scaling and nulls at each strength on dev and test, decides on dev, and writes the model;
`refinement_results` collects the numbers as plain data, from which come files, tables, sentences and the page.

- Running: `RefinementOptions`, `make_refinement`, `Sweep`; what an interrupted one has measured: `MeasuredStates` of a
  `sweep_identity`, in the file `STATES`, of an earlier version `EARLIER_STATES`. Without measuring, of models larger
  than memory (`is_in_files`): `refine_unmeasured`; `told_moments` says where graphs come from.
- Results: `refinement_results`, `write_refinement`, `refinement_tables`, `refinement_sentences`, `refinement_page`;
  `merge_recipe`, for mergekit; `write_card`, beside the model.
- Metrics of a task, each declared once in `METRICS`: `Metric`.
- Inside: `SweepPoint` with `Forgotten` and `TaskResult`, one measured state; `compare_at_equal_forgetting` and
  `compare_at_equal_score`; `kind_of` a fine-tune; `decide`, `pick` and a `Decision`; `next_strength`; `domain_auc` and
  `domain_remark`.
"""

from typing import TYPE_CHECKING

from paramgraph._lazy import lazy_names

if TYPE_CHECKING:
    from spectral_opt.sweep._card import write_card as write_card
    from spectral_opt.sweep._decision import Decision as Decision, decide as decide, pick as pick
    from spectral_opt.sweep._domain import domain_auc as domain_auc, domain_remark as domain_remark
    from spectral_opt.sweep._equal_forgetting import (
        compare_at_equal_forgetting as compare_at_equal_forgetting,
        compare_at_equal_score as compare_at_equal_score,
    )
    from spectral_opt.sweep._measures import Forgotten as Forgotten
    from spectral_opt.sweep._mergekit import merge_recipe as merge_recipe
    from spectral_opt.sweep._metrics import METRICS as METRICS, Metric as Metric, TaskResult as TaskResult
    from spectral_opt.sweep._points import SweepPoint as SweepPoint
    from spectral_opt.sweep._sentences import refinement_sentences as refinement_sentences
    from spectral_opt.sweep._tables import refinement_tables as refinement_tables
    from spectral_opt.sweep.interrupted import (
        EARLIER_STATES as EARLIER_STATES,
        STATES as STATES,
        MeasuredStates as MeasuredStates,
        sweep_identity as sweep_identity,
    )
    from spectral_opt.sweep.options import RefinementOptions as RefinementOptions
    from spectral_opt.sweep.page import refinement_page as refinement_page
    from spectral_opt.sweep.results import (
        refinement_results as refinement_results,
        write_refinement as write_refinement,
    )
    from spectral_opt.sweep.setting import kind_of as kind_of, make_refinement as make_refinement
    from spectral_opt.sweep.strengths import Sweep as Sweep, next_strength as next_strength
    from spectral_opt.sweep.unmeasured import (
        is_in_files as is_in_files,
        refine_unmeasured as refine_unmeasured,
        told_moments as told_moments,
    )

if not TYPE_CHECKING:
    __getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
