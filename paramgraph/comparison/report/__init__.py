"""The report of a comparison: figures, a page that holds all of them, and a table for the terminal.

Everything here takes the comparison as plain data, as `Comparison.to_dict` gives it, so a page can be made again from
the JSON file alone. `_values` puts rows in order, pools them and writes numbers; figures and tables are made of these;
the page puts them together with their numbers as CSV and the words explained.

Figures: `heatmap_figure`, `energy_figure`, `snr_figure`, `spectra_figure`, `agreement_figure`, `subgraph_figure`. The
whole: `comparison_page`, `print_comparison`, with the words explained, `GLOSSARY`. Inside: what these draw and write
(`spectra`, `agreement_pairs`, `heatmap_scale`, `summary_table`, `layer_table`, `summary_view`), and what they share:
rows and columns (`LAYERS`, `SUMMARY`, `columns_of`, `summary_rows`, `layer_names`, `construction_names`, `short_name`,
`band_labels`), pooling (`measured`, `is_number`, `stacked`, `quartiles`, `median_cells`, `layer_cells`), and writing
(`number_text`, `csv_text`, `panel_grid`, `panel_title`).
"""

from typing import TYPE_CHECKING

from paramgraph._lazy import lazy_names

if TYPE_CHECKING:
    from paramgraph.comparison.report._glossary import GLOSSARY as GLOSSARY
    from paramgraph.comparison.report._panels import (
        columns_of as columns_of,
        panel_grid as panel_grid,
        panel_title as panel_title,
        short_name as short_name,
    )
    from paramgraph.comparison.report._tables import (
        LAYERS as LAYERS,
        SUMMARY as SUMMARY,
        layer_table as layer_table,
        summary_table as summary_table,
    )
    from paramgraph.comparison.report._values import (
        band_labels as band_labels,
        construction_names as construction_names,
        csv_text as csv_text,
        is_number as is_number,
        layer_cells as layer_cells,
        layer_names as layer_names,
        measured as measured,
        median_cells as median_cells,
        number_text as number_text,
        quartiles as quartiles,
        stacked as stacked,
        summary_rows as summary_rows,
    )
    from paramgraph.comparison.report.agreement import (
        agreement_figure as agreement_figure,
        agreement_pairs as agreement_pairs,
    )
    from paramgraph.comparison.report.drawings import (
        energy_figure as energy_figure,
        snr_figure as snr_figure,
        spectra as spectra,
        spectra_figure as spectra_figure,
        subgraph_figure as subgraph_figure,
    )
    from paramgraph.comparison.report.heatmap import (
        heatmap_figure as heatmap_figure,
        heatmap_scale as heatmap_scale,
    )
    from paramgraph.comparison.report.page import comparison_page as comparison_page
    from paramgraph.comparison.report.terminal import (
        print_comparison as print_comparison,
        summary_view as summary_view,
    )

if not TYPE_CHECKING:
    __getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
