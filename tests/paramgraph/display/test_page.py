import warnings
from html.parser import HTMLParser

from paramgraph.display import (
    FigureView,
    Section,
    TableView,
    Term,
    html_card,
    new_figure,
    render_page,
    themed_svg,
)


class Tags(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.seen = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))


def test_text_is_escaped_everywhere():
    hostile = "<script>alert(1)</script>"
    section = Section(
        hostile,
        paragraphs=(hostile,),
        points=(hostile,),
        tables=(TableView((hostile,), ((hostile,),), hostile),),
    )
    page = render_page(hostile, hostile, [section], [(hostile, hostile)])
    assert "script" not in [tag for tag, _ in Tags(page).seen]


def test_what_acts_is_written_out_in_pages_cards_and_figures():
    name = "</text></title><script>alert(1)</script>\x1b[31m\u202e$\\frac$"
    section = Section(name, (name,), (name,), (TableView((name, "b"), ((name, name),), name, kinds=(name,)),))
    for interactive in (False, True):
        page = render_page(
            name, name, [section], [(name, name)], facts=[(name, name)], interactive=interactive
        )
        assert not {"\x1b", "\u202e"} & set(page)
        assert [tag for tag, _ in Tags(page).seen].count("script") == int(interactive)
        assert "\\x1b[31m\\u202e" in page
    card = html_card(name, name, [(name, name)])
    assert not {"\x1b", "\u202e"} & set(card)
    assert "<script" not in card
    figure = new_figure()
    figure.axes[0].set_title(name)
    figure.axes[0].set_xticks([0.0], labels=[name])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        svg = themed_svg(figure, "hostile")
    assert not {"\x1b", "\u202e"} & set(svg)
    assert "script" not in [tag for tag, _ in Tags(svg).seen]
    assert svg.count(r"$\frac$") == 2


def test_a_figure_stands_in_the_page_with_its_title_and_caption():
    page = render_page(
        "t", "l", [Section("s", figures=(FigureView("energy", "<svg id='x'></svg>", "caption"),))]
    )
    assert "<svg id='x'></svg>" in page
    assert ("figure", {"role": "group", "aria-label": "energy"}) in Tags(page).seen
    assert "caption" in page


def test_the_page_asks_for_nothing_outside_itself():
    tags = Tags(render_page("t", "l", [Section("s", paragraphs=("p",))])).seen
    assert not [tag for tag, attributes in tags if {"src", "href", "srcset"} & set(attributes)]
    assert not [tag for tag, _ in tags if tag in ("link", "script", "iframe")]


def test_controls_are_drawn_paler():
    table = TableView(("name", "value"), (("method", "1"), ("null", "2")), muted=frozenset({1}))
    tags = Tags(render_page("t", "l", [Section("s", tables=(table,))])).seen
    assert [attributes for tag, attributes in tags if tag == "tr"] == [{}, {}, {"class": "muted"}]


GROUPED = TableView(
    ("name", "value", "null"),
    (("first", "1", "2"), ("second", "3", "4")),
    groups=(("", 1), ("measure", 2)),
    hints=("", "of use", ""),
    quiet=frozenset({2}),
    words=frozenset({1}),
    sortable=True,
    kinds=("red", "blue"),
)


def test_a_page_has_no_script_unless_it_is_asked_for():
    sections = [Section("s", tables=(GROUPED,))]
    assert "<script" not in render_page("t", "l", sections)
    assert render_page("t", "l", sections, interactive=True).count("<script>") == 1


def test_an_interactive_page_forbids_itself_every_request():
    tags = Tags(render_page("t", "l", [], interactive=True)).seen
    (policy,) = (one["content"] for tag, one in tags if one.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none';")


def test_groups_stand_above_the_columns_that_they_span():
    tags = Tags(render_page("t", "l", [Section("s", tables=(GROUPED,))], interactive=True)).seen
    assert ("th", {"scope": "colgroup", "colspan": "2"}) in tags
    assert ("th", {"scope": "col", "class": "text", "title": "of use"}) in tags


def test_rows_tell_their_kind_and_each_kind_has_one_button():
    tags = Tags(render_page("t", "l", [Section("s", tables=(GROUPED,))], interactive=True)).seen
    assert [one["data-kind"] for tag, one in tags if tag == "tr" and "data-kind" in one] == ["0", "1"]
    values = [one["data-value"] for tag, one in tags if tag == "button" and "data-value" in one]
    assert values == ["0", "1", "measure"]


def test_a_figure_has_its_numbers_and_its_command_beside_it():
    figure = FigureView("f", "<svg></svg>", "c", data="a,b\n1,<2\n", file_name="f.csv", command="make f")
    page = render_page("t", "l", [Section("s", figures=(figure,))], interactive=True)
    assert "a,b\n1,&lt;2\n" in page
    assert "make f" in page


def test_a_figure_of_two_widths_takes_the_whole_row():
    figure = FigureView("f", "<svg id='a'></svg>", "c", "<svg id='b'></svg>")
    page = render_page("t", "l", [Section("s", figures=(figure,))], interactive=True)
    assert ("figure", {"role": "group", "aria-label": "f", "class": "wide"}) in Tags(page).seen


def test_terms_are_a_list_of_definitions():
    page = render_page("t", "l", [Section("s", terms=(Term("lift", "more", "how much"),))], interactive=True)
    assert "<dt>lift</dt><dd>more</dd>" in page
    assert "It cannot tell how much" in page


def test_a_table_of_markdown_keeps_its_columns():
    table = TableView(("a|b", "share"), (("c|d", "|"), ("---", "1")))
    assert table.to_markdown().splitlines() == [
        r"| a\|b | share |",
        "|---|---|",
        r"| c\|d | \| |",
        "| --- | 1 |",
    ]
