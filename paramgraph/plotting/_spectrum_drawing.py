"""The drawing of a spectrum, through matplotlib."""

from typing import TYPE_CHECKING

import numpy as np

from paramgraph.display import MIDDLE_GREY, PALETTE
from paramgraph.plotting._axes import new_axes
from paramgraph.spectra import Spectrum, check_spectrum

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_spectrum(spectrum: Spectrum, ax: "Axes | None" = None) -> "Axes":
    """Draw the eigenvalues of a spectrum by mode, low graph frequency first, and mark its gap.

    Parameters
    ----------
    spectrum : Spectrum
        Of any operator, complete or not.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default in a new figure of pyplot.

    Returns
    -------
    matplotlib.axes.Axes
        With the eigenvalues as points; the gap is the one of `paramgraph.spectral_gap`.

    Raises
    ------
    ImportError
        If matplotlib is missing; the message has the pip line.
    TypeError
        If it is no spectrum; the message says what makes one.

    Examples
    --------
    >>> import networkx as nx
    >>> from matplotlib.figure import Figure
    >>> from paramgraph import eigenpairs, laplacian
    >>> draw_spectrum(eigenpairs(laplacian(nx.cycle_graph(6))), Figure().subplots()).get_xlabel()
    'mode, of 6'
    """
    check_spectrum(spectrum, "draw_spectrum")
    ax = new_axes(4.6, 3.1) if ax is None else ax
    values = spectrum.eigenvalues.detach().cpu().double().numpy()
    modes = np.arange(1, len(values) + 1)
    ax.plot(modes, values, ".", color=PALETTE[0], markersize=6 if len(values) < 100 else 3)
    first = spectrum.first_varying
    if first < len(values):
        # A signed graph may have no zero: its gap begins at 0 all the same.
        low, high = sorted((values[first - 1] if first else 0.0, values[first]))
        ax.axhspan(low, high, color=PALETTE[1], alpha=0.25, linewidth=0)
        ax.annotate(
            f"gap {high - low:.3g}",
            (1, (low + high) / 2),
            xycoords=("axes fraction", "data"),
            xytext=(-4, 0),
            textcoords="offset points",
            ha="right",
            va="center",
            color=PALETTE[1],
        )
    ax.set_xlabel(f"mode, of {spectrum.nodes:,}", color=MIDDLE_GREY)
    ax.set_ylabel("eigenvalue", color=MIDDLE_GREY)
    ax.locator_params(axis="x", integer=True)
    ax.tick_params(colors=MIDDLE_GREY)
    for side, spine in ax.spines.items():
        spine.set_color(MIDDLE_GREY)
        spine.set_visible(side in ("left", "bottom"))
    ax.patch.set_alpha(0)
    return ax
