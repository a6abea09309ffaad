from html.parser import HTMLParser

from paramgraph.report.page import FigureView, Section, TableView, render_page


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
