"""The check of the built site finds what it is for, and the site has a page for all that there is."""

import re
from pathlib import Path

import check_site

TUTORIALS = Path(__file__).parents[2] / "tutorials"


def site(folder: Path, **pages: str) -> Path:
    for name, text in pages.items():
        (folder / f"{name}.html").write_text(text)
    return folder


def test_links_within_a_site_may_lead_to_pages_places_and_other_hosts(tmp_path: Path) -> None:
    text = '<a href="two.html#there">x</a><a href="https://example.org">y</a><a href="#own">z</a><p id="own">'
    assert check_site.faults(site(tmp_path, one=text, two='<h1 id="there">')) == []


def test_links_that_lead_nowhere_and_requests_to_other_hosts_are_told(tmp_path: Path) -> None:
    (tmp_path / "own.css").write_text(
        "@import 'https://fonts.example.org/x.css'; a { background: url(here.png) }"
    )
    links = '<a href="gone.html">x</a><a href="#gone">y</a>'
    text = f'{links}<script src="//cdn.example.org/a.js"></script><img src="no.png">'
    assert check_site.faults(site(tmp_path, one=text)) == [
        "one.html asks for //cdn.example.org/a.js",
        "one.html names gone.html, which is not there",
        "one.html names #gone, and there is no such place on that page",
        "one.html names no.png, which is not there",
        "own.css asks for https://fonts.example.org/x.css",
    ]


def test_a_folder_without_pages_is_no_site(tmp_path: Path) -> None:
    assert check_site.faults(tmp_path) == [f"{tmp_path} holds no page"]


def test_every_page_of_the_manual_is_in_the_table_of_contents() -> None:
    listed = re.findall(r"^manual/(\w+)$", (TUTORIALS / "index.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(path.stem for path in (TUTORIALS / "manual").glob("*.md"))


def test_links_between_pages_lead_somewhere_on_github_too() -> None:
    root = TUTORIALS.parent
    pages = [
        *root.glob("*.md"),
        *root.glob(".github/*.md"),
        *TUTORIALS.glob("*.md"),
        *TUTORIALS.glob("manual/*.md"),
    ]
    wrong = []
    for page in pages:
        for path, place in re.findall(
            r"\]\(([^)#:\s]*\.md)?(?:#([^)\s]+))?\)", page.read_text(encoding="utf-8")
        ):
            target = (page.parent / path).resolve() if path else page
            # GitHub shows what an include names as text.
            if not target.is_file() or (place and place not in places(target)):
                wrong.append(f"{page.name}: {path}#{place}")
    assert wrong == []


def places(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
