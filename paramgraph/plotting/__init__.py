"""Plotting: figures of graphs and spectra."""

from typing import TYPE_CHECKING

from paramgraph._lazy import lazy_names

if TYPE_CHECKING:
    from paramgraph.plotting._spectrum_drawing import draw_spectrum as draw_spectrum
    from paramgraph.plotting.graph_drawing import NEGATIVE as NEGATIVE, draw_graph as draw_graph

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
