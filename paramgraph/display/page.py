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
    groups : tuple of pairs, optional
        Names and widths of what stands above the header; the first has no name. Widths add up to the header's.
    hints : tuple of str, optional
        For each column, what it means.
    quiet : frozenset of int
        Columns that are controls, drawn paler.
    words : frozenset of int
        Columns that hold text: aligned to the left, and sorted as text.
    sortable : bool, default False
        Whether a click on a column's name sorts by it, where the page is interactive.
    kinds : tuple of str, optional
        For each row, a kind that readers may restrict the table to. Not empty: there is also a filter by text.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    muted: frozenset[int] = frozenset()
    groups: tuple[tuple[str, int], ...] = ()
    hints: tuple[str, ...] = ()
    quiet: frozenset[int] = frozenset()
    words: frozenset[int] = frozenset()
    sortable: bool = False
    kinds: tuple[str, ...] = ()

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
    wide_svg : str, optional
        The same figure for wide windows; the figure then takes the whole width.
    data : str, optional
        Its numbers as CSV, shown on demand and offered as a file.
    file_name : str, optional
        Of that file.
    command : str, optional
        What makes the figure.
    """

    title: str
    svg: str
    caption: str
    wide_svg: str = ""
    data: str = ""
    file_name: str = "data.csv"
    command: str = ""


@dataclass(frozen=True)
class Term:
    """A word that a page explains.

    Parameters
    ----------
    name : str
        As it stands in the page.
    meaning : str
        What it says.
    limit : str, optional
        What it cannot tell, to be read after these words.
    """

    name: str
    meaning: str
    limit: str = ""


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
    terms : sequence of Term
        Drawn as a list of words and what they mean.
    """

    title: str
    paragraphs: Sequence[str] = ()
    points: Sequence[str] = ()
    tables: Sequence[TableView] = ()
    figures: Sequence[FigureView] = field(default=())
    terms: Sequence[Term] = ()


def render_page(
    title: str,
    lead: str,
    sections: Sequence[Section],
    footer: Sequence[tuple[str, str]] = (),
    *,
    facts: Sequence[tuple[str, str]] = (),
    interactive: bool = False,
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
    facts : sequence of pairs
        Names and short values under the lead.
    interactive : bool, default False
        Whether the page has links to its sections and a script: for sorting, filters and a choice of colours. It is
        complete without.

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

    folder = resources.files(__package__)
    source = folder.joinpath("page.html.j2").read_text(encoding="utf-8")
    script = folder.joinpath("page.js").read_text(encoding="utf-8") if interactive else ""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(source).render(
        title=title, lead=lead, sections=sections, footer=footer, facts=facts, script=script
    )
