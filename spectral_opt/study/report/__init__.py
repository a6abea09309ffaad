"""Report of a study: what its records show, as a page, as Markdown, and as rows of numbers.

Conclusions and figures come first: verdicts, score against retention, effects beside the plain fine-tune, learning
curves; then all results, cost, stability, tuning; last what is not in it, by name: missing cells, runs that diverged,
files that were refused. A study that is not finished says so in its first sentence.

- `write_report` writes the files; `make_report` makes the `StudyReport` of an `Overview`: a plan and its records, put
  together by `Panel` as `Series`.
- Parts for records that are told elsewhere: `results_table`, `cost_table`, `rate_table`, `verdicts_table`,
  `forest_figures`, `front_figures` or one by `draw_front`, with `marks_of_parts`; `lost_cells` of a `Series` beside
  its `baseline_of`, its `final_state`.
- Inside: `write_names` beside the ends of lines, `LINE` points apart; controls are `GREY`; `mean_interval` over runs.
"""

from typing import TYPE_CHECKING

from paramgraph._lazy import lazy_names

if TYPE_CHECKING:
    from spectral_opt.study.report._costs import cost_table as cost_table
    from spectral_opt.study.report._forest import forest_figures as forest_figures
    from spectral_opt.study.report._fronts import draw_front as draw_front, front_figures as front_figures
    from spectral_opt.study.report._marks import (
        GREY as GREY,
        LINE as LINE,
        marks_of_parts as marks_of_parts,
        write_names as write_names,
    )
    from spectral_opt.study.report._overview import (
        Overview as Overview,
        Panel as Panel,
        Series as Series,
        baseline_of as baseline_of,
        final_state as final_state,
    )
    from spectral_opt.study.report._results_table import (
        lost_cells as lost_cells,
        results_table as results_table,
    )
    from spectral_opt.study.report._stability import rate_table as rate_table
    from spectral_opt.study.report._verdicts import verdicts_table as verdicts_table
    from spectral_opt.study.report._words import mean_interval as mean_interval
    from spectral_opt.study.report.page import StudyReport as StudyReport, make_report as make_report
    from spectral_opt.study.report.writing import write_report as write_report

if not TYPE_CHECKING:
    __getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
