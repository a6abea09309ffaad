"""Look over the built site: every link within it leads somewhere, and no page asks another host for anything.

    python tutorials/check_site.py build/site

A reader may open the site from a disk without a connection: styles, scripts, fonts and pictures must lie beside the
pages. Links to other hosts are text until they are followed; `make docs-links` asks whether they answer.
"""

import re
import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# What a browser fetches by itself; of an anchor it fetches nothing before a click.
FETCHED = {"link": "href", "script": "src", "img": "src", "iframe": "src", "source": "src", "object": "data"}
ELSEWHERE = re.compile(r"^(https?:)?//")


@dataclass
class Page(HTMLParser):
    """The anchors that a page has, the addresses that it links to, and those that it fetches."""

    text: str
    anchors: set[str] = field(default_factory=set)
    linked: list[str] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Note what a tag names."""
        found = {name: value for name, value in attributes if value}
        self.anchors |= {found[name] for name in ("id", "name") if name in found}
        if tag == "a" and "href" in found:
            self.linked.append(found["href"])
        elif tag in FETCHED and FETCHED[tag] in found:
            self.fetched.append(found[FETCHED[tag]])


def faults(site: Path) -> list[str]:
    """List links that lead nowhere and what is asked of other hosts, by page."""
    pages = {
        path.resolve(): Page(path.read_text(encoding="utf-8"))
        for path in sorted(site.rglob("*.html"))
        if "_static" not in path.parts
    }
    found = [] if pages else [f"{site} holds no page"]
    for path, page in pages.items():
        name = path.relative_to(site.resolve())
        found += [f"{name} asks for {one}" for one in page.fetched if ELSEWHERE.match(one)]
        for address in (*page.linked, *page.fetched):
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.exists():
                found.append(f"{name} names {address}, which is not there")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                found.append(f"{name} names {address}, and there is no such place on that page")
    for sheet in sorted(site.rglob("*.css")):
        asked = re.findall(
            r"(?:url\(|@import)\s*[\"']?((?:https?:)?//[^\"')]+)", sheet.read_text(encoding="utf-8")
        )
        found += [f"{sheet.relative_to(site)} asks for {one}" for one in asked]
    return found


if __name__ == "__main__":
    wrong = faults(Path(sys.argv[1]))
    print("\n".join(wrong) or "all links within the site lead somewhere, and nothing is asked of other hosts")
    sys.exit(bool(wrong))
