"""One self-contained HTML page: no external request, light and dark, readable at phone width."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources


@dataclass(frozen=True)
class TableView:
    """A table of a page.

    Parameters
    ----------
    header : tuple of str
        Names of the columns.
    rows : tuple of tuples of str
        Cells, ready to be read; the first cell of a row is its name.
    caption : str
        What the table shows.
    muted : frozenset of int
        Rows that are controls, drawn paler.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    muted: frozenset[int] = frozenset()

    def to_markdown(self) -> str:
        """Return the table as GitHub's Markdown, for a README.

        Returns
        -------
        str
            Header, rule and rows; controls are in italics.

        Examples
        --------
        >>> print(TableView(("graph", "share"), (("ring", "0.2"),)).to_markdown())
        | graph | share |
        |---|---|
        | ring | 0.2 |
        """
        lines = [self.header, tuple("---" for _ in self.header)]
        for place, (name, *cells) in enumerate(self.rows):
            name = name.strip()
            lines.append((f"*{name}*" if place in self.muted else name, *cells))
        rule = "|" + "---|" * len(self.header)
        return "\n".join(rule if line[0] == "---" else f"| {' | '.join(line)} |" for line in lines)


@dataclass(frozen=True)
class FigureView:
    """A figure of a page.

    Parameters
    ----------
    title : str
        Short; also what a screen reader says.
    svg : str
        Made by `themed_svg`.
    caption : str
        What to see in it.
    """

    title: str
    svg: str
    caption: str


@dataclass(frozen=True)
class Section:
    """A part of a page: some sentences, then tables, then figures side by side.

    Parameters
    ----------
    title : str
        Heading.
    paragraphs, points : sequence of str
        Plain text; points are drawn as a list.
    tables : sequence of TableView
        Drawn below the text.
    figures : sequence of FigureView
        Drawn in a grid.
    """

    title: str
    paragraphs: Sequence[str] = ()
    points: Sequence[str] = ()
    tables: Sequence[TableView] = ()
    figures: Sequence[FigureView] = field(default=())


def render_page(
    title: str, lead: str, sections: Sequence[Section], footer: Sequence[tuple[str, str]] = ()
) -> str:
    """Render a page.

    Parameters
    ----------
    title : str
        Heading and window title.
    lead : str
        The sentence under the heading.
    sections : sequence of Section
        The content; all text is escaped, only the SVG of figures is taken as it is.
    footer : sequence of pairs
        Names and values: versions, command, seed.

    Returns
    -------
    str
        A whole HTML document.

    Examples
    --------
    >>> page = render_page("Energy", "One graph.", [Section("Result", paragraphs=["a < b"])])
    >>> "a &lt; b" in page, "http" in page
    (True, False)
    """
    from jinja2 import Environment, StrictUndefined

    source = resources.files(__package__).joinpath("page.html.j2").read_text(encoding="utf-8")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(source).render(title=title, lead=lead, sections=sections, footer=footer)
