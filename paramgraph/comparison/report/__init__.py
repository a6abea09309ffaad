"""Report: the page and the table of a comparison."""

from typing import TYPE_CHECKING

from paramgraph._lazy import lazy_names

if TYPE_CHECKING:
    from paramgraph.comparison.report._heatmap_scale import heatmap_scale as heatmap_scale
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
    from paramgraph.comparison.report.heatmap import heatmap_figure as heatmap_figure
    from paramgraph.comparison.report.page import comparison_page as comparison_page
    from paramgraph.comparison.report.panels import (
        columns_of as columns_of,
        panel_grid as panel_grid,
        panel_title as panel_title,
        short_name as short_name,
    )
    from paramgraph.comparison.report.tables import (
        LAYERS as LAYERS,
        SUMMARY as SUMMARY,
        layer_table as layer_table,
        summary_table as summary_table,
    )
    from paramgraph.comparison.report.terminal import (
        print_comparison as print_comparison,
        summary_view as summary_view,
    )
    from paramgraph.comparison.report.values import (
        band_labels as band_labels,
        construction_names as construction_names,
        csv_text as csv_text,
        is_number as is_number,
        layer_names as layer_names,
        measured as measured,
        median_cells as median_cells,
        number_text as number_text,
        quartiles as quartiles,
        stacked as stacked,
        summary_rows as summary_rows,
    )

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
