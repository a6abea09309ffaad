"""Display: what a reader sees, knowing nothing of graphs: a page, figures in it, notebook cards, the terminal.

A report describes its parts as plain values (`TableView`, `FigureView`, `Term`, in a `Section`); `render_page` makes
one self-contained HTML page of them, `print_views` tables in the terminal. Figures are matplotlib's, rendered as SVG
that follows the page's theme.

Pages: `render_page`, `Section`, `TableView`, `FigureView`, `Term`. Figures: `check_figures`, `new_figure`,
`themed_svg`, `draw_curves`, `Curve`; colours: `PALETTE`, `MIDDLE_GREY`, `INK`, `GRID`. Cards: `html_card` and its
`CELL`, `escape`, `short_list`; `table_html`, `spectrum_html`, `graph_html`. README.md of a model: `model_card`,
`loading_line`, `made_with`. Terminal: `print_views`, `print_lines`, `progress_bar`. Names told by their reason:
`by_reason`, `some_names`. All text goes through `printable`, which takes from names of others what a screen would obey.
"""

from typing import TYPE_CHECKING

from paramgraph._lazy import lazy_names

if TYPE_CHECKING:
    from paramgraph.display.card import (
        CELL as CELL,
        escape as escape,
        html_card as html_card,
        short_list as short_list,
    )
    from paramgraph.display.curves import Curve as Curve, draw_curves as draw_curves
    from paramgraph.display.hub_card import (
        loading_line as loading_line,
        made_with as made_with,
        model_card as model_card,
    )
    from paramgraph.display.page import (
        FigureView as FigureView,
        Section as Section,
        TableView as TableView,
        Term as Term,
        render_page as render_page,
    )
    from paramgraph.display.palette import MIDDLE_GREY as MIDDLE_GREY, PALETTE as PALETTE
    from paramgraph.display.printable_text import printable as printable
    from paramgraph.display.reasons import by_reason as by_reason, some_names as some_names
    from paramgraph.display.summaries import (
        graph_html as graph_html,
        spectrum_html as spectrum_html,
        table_html as table_html,
    )
    from paramgraph.display.svg import (
        GRID as GRID,
        INK as INK,
        check_figures as check_figures,
        new_figure as new_figure,
        themed_svg as themed_svg,
    )
    from paramgraph.display.terminal import (
        print_lines as print_lines,
        print_views as print_views,
        progress_bar as progress_bar,
    )

if not TYPE_CHECKING:
    __getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
