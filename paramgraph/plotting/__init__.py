"""Plotting: figures of graphs and spectra, by networkx and matplotlib (the extra `drawing`).

`draw_graph` takes the heaviest part of a graph, lays its components out side by side and colours nodes by a field or by
values; `draw_spectrum` draws eigenvalues by mode and marks the gap. Both draw on given axes or on new ones, without a
ground of their own, so that they suit light and dark pages.

- `draw_graph` (negative edges are `NEGATIVE`), `draw_spectrum`.
- The look of the notebooks: `plt.style.use("paramgraph.plotting.figures")`.
- Inside: `node_positions` in the plane; `node_colours`, which tell up to `MOST_KINDS` kinds apart.
"""

from typing import TYPE_CHECKING

from paramgraph._lazy import lazy_names

if TYPE_CHECKING:
    from paramgraph.plotting._node_colours import MOST_KINDS as MOST_KINDS, node_colours as node_colours
    from paramgraph.plotting._node_positions import node_positions as node_positions
    from paramgraph.plotting._spectrum_drawing import draw_spectrum as draw_spectrum
    from paramgraph.plotting.graph_drawing import NEGATIVE as NEGATIVE, draw_graph as draw_graph

if not TYPE_CHECKING:
    __getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
