"""The page of a comparison in a real browser: whatever Chromium or Chrome the machine has."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from paramgraph.comparison.report import comparison_page

from helpers.synthetic_comparison import synthetic_comparison


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "comparison.html"
    path.write_text(
        comparison_page(synthetic_comparison(12, ("attention.query", "mlp.down"), 5)), encoding="utf-8"
    )
    return path.as_uri()


class Visit:
    """A page that was opened, and all that it said and asked for."""

    def __init__(
        self, browser: Browser, address: str, width: int = 1600, scheme: Any = "light", **options: Any
    ):
        self.context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, **options
        )
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(10_000)
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.errors.append(message.text))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(address)


@pytest.fixture
def visit(browser: Browser, address: str) -> Iterator[Any]:
    opened: list[Visit] = []

    def open_page(**options: Any) -> Visit:
        opened.append(Visit(browser, address, **options))
        return opened[-1]

    yield open_page
    for one in opened:
        one.context.close()


SUMMARY, LAYERS = "#part-1 table", "#part-5 table"


def shown(page: Page, table: str, column: int) -> list[str]:
    """Read a column of the rows that are shown, from top to bottom."""
    cells = page.locator(f"{table} tbody tr:visible > :nth-child({column})")
    return [text.strip() for text in cells.all_inner_texts()]


def header(page: Page, table: str, column: int) -> Any:
    return page.locator(f"{table} thead tr:last-child th:nth-child({column})")


def contrast(page: Page, selector: str) -> float:
    """Contrast of an element's text with the first ground below it, as WCAG 2 defines it."""
    inks = page.locator(selector).first.evaluate(
        """element => {
            let ground = element;
            const clear = one => getComputedStyle(one).backgroundColor === "rgba(0, 0, 0, 0)";
            while (clear(ground) && ground.parentElement) ground = ground.parentElement;
            return [getComputedStyle(element).color, getComputedStyle(ground).backgroundColor];
        }"""
    )

    def luminance(colour: str) -> float:
        parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return float(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])

    low, high = sorted(luminance(ink) for ink in inks)
    return (high + 0.05) / (low + 0.05)


def test_a_click_on_a_number_s_name_sorts_and_another_turns_the_order(visit: Any) -> None:
    page = visit().page
    header(page, SUMMARY, 2).get_by_role("button").click()
    values = [float(text) for text in shown(page, SUMMARY, 2)]
    assert values == sorted(values)
    assert header(page, SUMMARY, 2).get_attribute("aria-sort") == "ascending"
    header(page, SUMMARY, 2).get_by_role("button").click()
    assert [float(text) for text in shown(page, SUMMARY, 2)] == values[::-1]
    assert header(page, SUMMARY, 2).get_attribute("aria-sort") == "descending"


@pytest.mark.parametrize("key", ["Enter", "Space"])
def test_the_keyboard_sorts_as_a_click_does(visit: Any, key: str) -> None:
    page = visit().page
    header(page, SUMMARY, 1).get_by_role("button").focus()
    page.keyboard.press("Tab")
    page.keyboard.press(key)
    assert header(page, SUMMARY, 2).get_attribute("aria-sort") == "ascending"
    values = [float(text) for text in shown(page, SUMMARY, 2)]
    assert values == sorted(values)


def test_only_one_column_says_that_it_is_sorted(visit: Any) -> None:
    page = visit().page
    for column in (2, 3):
        header(page, SUMMARY, column).get_by_role("button").click()
    assert page.locator(f"{SUMMARY} th[aria-sort]").count() == 1


def test_layers_sort_by_their_number_and_not_by_its_digits(visit: Any) -> None:
    page = visit().page
    header(page, LAYERS, 1).get_by_role("button").click()
    depths = [int(re.findall(r"\d+", name)[0]) for name in shown(page, LAYERS, 1)]
    assert depths == sorted(depths)
    assert depths[-1] == 11


@pytest.mark.parametrize("clicks", [1, 2])
def test_blanks_stay_last_in_both_orders(visit: Any, clicks: int) -> None:
    page = visit().page
    column = page.locator(f"{SUMMARY} thead tr:last-child th").all_inner_texts()
    edges = next(at for at, name in enumerate(column, 1) if name.startswith("edges"))
    for _ in range(clicks):
        header(page, SUMMARY, edges).get_by_role("button").click()
    values = shown(page, SUMMARY, edges)
    assert values[-1] == "\N{EN DASH}"
    assert "\N{EN DASH}" not in values[:-1]


def test_words_narrow_the_rows_and_the_count_says_to_how_many(visit: Any) -> None:
    page = visit().page
    page.get_by_label("Find").fill("layer.3. down gaussian")
    assert shown(page, LAYERS, 1) == ["encoder.layer.3.mlp.down.weight"]
    assert page.locator("#part-5 output").inner_text() == "1 of 120 rows"
    page.get_by_label("Find").fill("")
    assert len(shown(page, LAYERS, 1)) == 120


def test_a_construction_alone_is_shown_while_its_button_is_pressed(visit: Any) -> None:
    page = visit().page
    button = page.get_by_role("button", name="cosine_knn of weights", exact=True)
    button.click()
    assert set(shown(page, LAYERS, 2)) == {"cosine_knn of weights"}
    assert button.get_attribute("aria-pressed") == "true"
    button.press("Enter")
    assert len(set(shown(page, LAYERS, 2))) == 5


def test_a_filter_outlives_sorting(visit: Any) -> None:
    page = visit().page
    page.get_by_label("Find").fill("layer.1.")
    header(page, LAYERS, 3).get_by_role("button").click()
    assert len(shown(page, LAYERS, 1)) == 10


def test_only_the_chosen_columns_are_shown(visit: Any) -> None:
    page = visit().page
    before = page.locator(f"{LAYERS} thead tr:last-child th:visible").count()
    page.get_by_role("button", name="degrees", exact=True).click()
    names = page.locator(f"{LAYERS} thead tr:last-child th:visible").all_inner_texts()
    assert [name.strip("↕\n") for name in names][-4:] == ["least", "median", "mean", "most"]
    assert page.locator(f"{LAYERS} tbody tr:first-child > :visible").count() == len(names) < before


def test_the_theme_button_changes_the_colours_and_says_what_comes_next(visit: Any) -> None:
    page = visit().page
    button = page.locator("[data-theme-button]")
    grounds = [page.evaluate("getComputedStyle(document.body).backgroundColor")]
    for name in ("Dark colours", "Light colours"):
        assert button.inner_text() == name
        button.click()
        grounds.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert grounds[0] == grounds[2] != grounds[1]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("press", [False, True], ids=["system", "button"])
def test_all_text_stands_out_from_its_ground(visit: Any, scheme: str, press: bool) -> None:
    page = visit(scheme=scheme).page
    if press:
        page.locator("[data-theme-button]").click()
    page.get_by_role("button", name="degrees", exact=True).click()
    selectors = (
        "h1",
        ".lead",
        ".facts dt",
        "nav a",
        "td.quiet",
        "tr.muted th",
        "figcaption",
        "summary",
        "footer dd",
    )
    selectors += ('[aria-pressed="true"]', "thead th button", ".limit")
    contrasts = {selector: contrast(page, selector) for selector in selectors}
    # 4.5 : 1 is WCAG 2, level AA, for text of this size.
    faint = {selector: value for selector, value in contrasts.items() if value < 4.5}
    assert not faint


@pytest.mark.parametrize("width", [360, 1600])
def test_the_body_never_scrolls_sideways(visit: Any, width: int) -> None:
    page = visit(width=width).page
    for details in page.locator("details").all():
        details.evaluate("element => { element.open = true; }")
    assert page.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.parametrize(("width", "seen"), [(360, "narrow"), (1600, "wide")])
def test_a_figure_is_drawn_for_the_window(visit: Any, width: int, seen: str) -> None:
    figure = visit(width=width).page.locator("figure.wide").first
    assert [name for name in ("narrow", "wide") if figure.locator(f".for-{name}").is_visible()] == [seen]


def test_focus_is_seen(visit: Any) -> None:
    page = visit().page
    page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_the_numbers_of_a_figure_come_as_a_file(visit: Any, tmp_path: Path) -> None:
    page = visit(accept_downloads=True).page
    figure = page.locator("figure", has_text="Agreement of constructions")
    figure.locator("summary").click()
    with page.expect_download() as download:
        figure.get_by_role("link", name="agreement.csv").click()
    path = tmp_path / "agreement.csv"
    download.value.save_as(path)
    assert path.read_text(encoding="utf-8") == figure.locator("pre[id]").text_content()


def test_nothing_is_asked_of_the_network_and_nothing_goes_wrong(visit: Any, address: str) -> None:
    one = visit()
    for button in one.page.get_by_role("button").all():
        if button.is_visible():
            button.click()
    assert one.errors == []
    assert one.requests == [address]


def test_without_scripts_the_page_is_complete_and_shows_no_dead_control(visit: Any) -> None:
    page = visit(java_script_enabled=False).page
    assert len(shown(page, LAYERS, 1)) == 120
    assert page.locator("button:visible, input:visible").count() == 0
