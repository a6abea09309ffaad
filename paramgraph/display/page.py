"""One self-contained HTML page: no external request, light and dark, readable at phone width."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources

from paramgraph.display.printable_text import printable


@dataclass(frozen=True)
class TableView:
    """A table of a page, or of the terminal: cells ready to be read; the first of a row is its name."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    muted: frozenset[int] = frozenset()  # rows that are controls, drawn paler
    groups: tuple[
        tuple[str, int], ...
    ] = ()  # names and widths above the header, of which the first has no name
    hints: tuple[str, ...] = ()  # for each column, what it means
    quiet: frozenset[int] = frozenset()  # columns that are controls, drawn paler
    words: frozenset[int] = frozenset()  # columns of text: aligned to the left, and sorted as text
    sortable: bool = False  # by a click on a column's name, where the page is interactive
    kinds: tuple[
        str, ...
    ] = ()  # for each row, a kind to restrict the table to; with them there is a filter by text

    def to_markdown(self) -> str:
        """Return the table as GitHub's Markdown; controls are in italics.

        >>> print(TableView(("graph", "share"), (("ring", "0.2"),)).to_markdown())
        | graph | share |
        |---|---|
        | ring | 0.2 |
        """
        lines = [self.header]
        for place, (name, *cells) in enumerate(self.rows):
            name = name.strip()
            lines.append((f"*{name}*" if place in self.muted else name, *cells))
        escaped = [[cell.replace("|", "\\|") for cell in line] for line in lines]
        head, *rows = [f"| {' | '.join(line)} |" for line in escaped]
        return "\n".join([head, "|" + "---|" * len(self.header), *rows])


@dataclass(frozen=True)
class FigureView:
    """A figure of a page, made by `themed_svg`, and what to see in it."""

    title: str
    svg: str
    caption: str
    wide_svg: str = ""  # the same for wide windows; the figure then takes the whole width
    data: str = ""  # its numbers as CSV, shown on demand and offered as a file of the next name
    file_name: str = "data.csv"
    command: str = ""  # what makes the figure


@dataclass(frozen=True)
class Term:
    """A word that a page explains; `limit` is what it cannot tell, to be read after these words."""

    name: str
    meaning: str
    limit: str = ""


@dataclass(frozen=True)
class Section:
    """A part of a page: sentences and a list of points, then tables, figures side by side, and words explained."""

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
    """Render a whole HTML document; all text is escaped, only the SVG of figures is taken as it is. Needs jinja2.

    `lead` is the sentence under the heading, `facts` are names and short values under it, `footer` those at the end:
    versions, command, seed. An interactive page has links to its sections and a script, for sorting, filters and a
    choice of colours; it is complete without.

    >>> page = render_page("Energy", "One graph.", [Section("Result", paragraphs=["a < b"])])
    >>> "a &lt; b" in page, "http" in page
    (True, False)
    """
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError as error:
        raise ImportError("pages need jinja2: pip install 'paramgraph[compare]'") from error
    folder = resources.files(__package__)
    source = folder.joinpath("page.html.j2").read_text(encoding="utf-8")
    script = folder.joinpath("page.js").read_text(encoding="utf-8") if interactive else ""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_shown
    )
    return environment.from_string(source).render(
        title=title, lead=lead, sections=sections, footer=footer, facts=facts, script=script
    )


def _shown(value: object) -> object:
    # Markup is a kind of text, and stays one.
    return type(value)(printable(value, kept="\n\t\r")) if isinstance(value, str) else value
