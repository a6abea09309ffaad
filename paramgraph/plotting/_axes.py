"""Where drawings are made: figures without a ground of their own, so that they suit light and dark pages."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import ListedColormap


def new_axes(width: float, height: float) -> "Axes":
    """Give the axes of a new pyplot figure of this size in inches, or name the pip line of matplotlib."""
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError("drawing needs matplotlib: pip install 'paramgraph[drawing]'") from error
    # pyplot, so that a notebook shows it; no ground, so that its theme shows through.
    figure, ax = pyplot.subplots(figsize=(width, height), layout="constrained")
    figure.patch.set_alpha(0)
    return ax


def colour_scale() -> "ListedColormap":
    """Give the part of viridis that is seen on white and on near-black, as a colour map."""
    from matplotlib import colormaps, colors

    return colors.ListedColormap(colormaps["viridis"](np.linspace(0.15, 0.92, 256)))
