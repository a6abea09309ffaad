"""The demonstration, small: which graph carries the gradient, methods side by side, and refinement without training.

`make_setting` loads model and texts by `DemoOptions`; a `Demo` runs the three parts on it, `work_ahead` units of work
in all; `demo_results` collects the numbers as plain data, from which come files, tables, sentences and the page.

- Running: `DemoOptions`, `make_setting`, `Demo`, `work_ahead`; what is finished stays on disk: `FinishedWork`.
- Results: `demo_results`, `write_results`, `demo_tables`, `print_tables`, `demo_page`, `example_drawings`;
  in words: `conclusion`, `key_figures`, `cautions`.
- Inside: `CONSTRUCTIONS`, `FAMILIES`, `LONGER`, `EQUAL`, `equal_factor`, `measure_table`, `pool_evidence`,
  `tidy_rows`; `graph_sentences`, `training_sentences`, `refinement_sentences`.
"""

from typing import TYPE_CHECKING

from paramgraph._lazy import lazy_names

if TYPE_CHECKING:
    from spectral_opt.demo.drawings import example_drawings as example_drawings
    from spectral_opt.demo.finished_work import FinishedWork as FinishedWork
    from spectral_opt.demo.graph_evidence import (
        CONSTRUCTIONS as CONSTRUCTIONS,
        measure_table as measure_table,
        pool_evidence as pool_evidence,
    )
    from spectral_opt.demo.options import DemoOptions as DemoOptions
    from spectral_opt.demo.page import demo_page as demo_page
    from spectral_opt.demo.parts import (
        EQUAL as EQUAL,
        LONGER as LONGER,
        Demo as Demo,
        work_ahead as work_ahead,
    )
    from spectral_opt.demo.refinement_front import FAMILIES as FAMILIES, equal_factor as equal_factor
    from spectral_opt.demo.results import (
        demo_results as demo_results,
        tidy_rows as tidy_rows,
        write_results as write_results,
    )
    from spectral_opt.demo.setting import make_setting as make_setting
    from spectral_opt.demo.tables import demo_tables as demo_tables, print_tables as print_tables
    from spectral_opt.demo.verdict import (
        cautions as cautions,
        conclusion as conclusion,
        graph_sentences as graph_sentences,
        key_figures as key_figures,
        refinement_sentences as refinement_sentences,
        training_sentences as training_sentences,
    )

if not TYPE_CHECKING:
    __getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
