"""Matplotlib figures as inline SVG that follows the light or dark theme of the page around it."""

import io
import re
from typing import TYPE_CHECKING, Any

from paramgraph.display.palette import PALETTE
from paramgraph.display.printable_text import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Colours that no figure uses otherwise; in the SVG they become the page's own text and grid colours. Elsewhere, as in
# a notebook, they are what they say: near-black and a pale grey.
INK, GRID = "#1c2026", "#d8dbe1"


def check_figures() -> None:
    """Raise ImportError with the pip line where matplotlib is missing: ask before the first of its imports."""
    try:
        import matplotlib as mpl  # noqa: F401
    except ImportError as error:
        raise ImportError("figures need matplotlib: pip install 'paramgraph[demo]'") from error


def new_figure(width: float = 4.6, height: float = 3.1, columns: int = 1, rows: int = 1) -> "Figure":
    """Return an empty figure of `columns` by `rows` axes in the page's style; width and height are in inches.

    The default is small enough that its text still reads on a phone. Raises ImportError without matplotlib.

    >>> len(new_figure(columns=2).axes)
    2
    """
    check_figures()
    import matplotlib as mpl
    from cycler import cycler
    from matplotlib.figure import Figure

    style: dict[Any, Any] = {
        "axes.edgecolor": INK,
        "axes.labelcolor": INK,
        "axes.prop_cycle": cycler(color=PALETTE),
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": GRID,
        "grid.linewidth": 0.6,
        "font.size": 9.5,
        "legend.frameon": False,
        "legend.fontsize": 8.5,
        "text.color": INK,
        "xtick.color": INK,
        "ytick.color": INK,
    }
    # Figure, not pyplot: no global state, no back end that wants a screen.
    with mpl.rc_context(style):
        figure = Figure(figsize=(width, height), layout="constrained")
        figure.subplots(rows, columns)
    return figure


def themed_svg(figure: "Figure", name: str) -> str:
    """Render a figure of `new_figure` as an `<svg>` that scales to the width it is given.

    Text stays text, in the page's font; ink and grid take the page's colours; identifiers start with `name` (letters,
    digits and hyphens, unique within the page), so that many figures fit one page; the same figure gives the same
    bytes.

    >>> themed_svg(new_figure(), "empty")[:4]
    '<svg'
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]*", name):
        raise ValueError(f"a figure's name is letters, digits and hyphens, got {name!r}")
    import matplotlib as mpl
    from matplotlib.text import Text

    buffer = io.StringIO()
    # A name with dollars in it is no formula.
    for text in figure.findobj(Text):
        text.set_parse_math(False)
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "text.parse_math": False}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = printable(buffer.getvalue(), kept="\n")
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = svg.replace("url(#", f"url(#{name}-").replace('href="#', f'href="#{name}-')
    svg = svg.replace(' xmlns="http://www.w3.org/2000/svg"', "").replace(
        ' xmlns:xlink="http://www.w3.org/1999/xlink"', ""
    )
    svg = svg.replace("xlink:href", "href")
    svg = re.sub(r"font: [^;\"]*?([\d.]+px)[^;\"]*", r"font-size: \1", svg)
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)
    svg = re.sub(r' transform="rotate\(-?0 [^"]*"', "", svg)
    # A hundredth of a point is not seen, and half of a page of many paths.
    svg = re.sub(r' (?:d|x|y|transform)="[^"]*"', lambda found: re.sub(r"(\.\d\d)\d+", r"\1", found[0]), svg)
    return svg.replace(INK, "currentColor").replace(GRID, "var(--grid)").strip()
