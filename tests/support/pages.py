"""What a page holds, read as a browser reads it; and what would make it ask somebody for something."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"meta", "img", "br"}
FORBIDDEN = {"script", "iframe", "object", "embed", "link", "base", "form", "audio", "video", "foreignobject"}
ADDRESSES = {"src", "href", "xlink:href", "srcset", "action", "poster", "data"}


class Page(HTMLParser):
    """A parsed page.

    Attributes
    ----------
    faults : list of str
        Tags that do not match, and whatever asks for something outside, or runs.
    texts : dict of str to list of str
        By tag, the text within each.
    count : dict of str to int
        Tags.
    ids, links : list of str
        Of elements, and to them.
    """

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.faults: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self.count: dict[str, int] = {}
        self.ids: list[str] = []
        self.links: list[str] = []
        self.images: list[str] = []
        self._open: list[tuple[str, int]] = []
        self.feed(text)
        self.close()
        self.faults += [f"<{tag}> is not closed" for tag, _ in self._open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._begin(tag, attrs)
        if tag not in VOID:
            self._open.append((tag, len(self.texts[tag]) - 1))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._begin(tag, attrs)

    def _begin(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count[tag] = self.count.get(tag, 0) + 1
        self.texts.setdefault(tag, []).append("")
        self.faults += [f"<{tag}>"] if tag in FORBIDDEN else []
        for name, value in attrs:
            self._attribute(name, value or "")

    def _attribute(self, name: str, value: str) -> None:
        if name == "id":
            self.ids.append(value)
        if name.startswith("on"):
            self.faults.append(name)
        if name == "style" and "url(" in value:
            self.faults.append(value)
        if name in ADDRESSES:
            (self.links if value.startswith("#") else self.images).append(value)
            if not value.startswith(("#", "data:image/png;base64,", "data:image/jpeg;base64,")):
                self.faults.append(f"{name}={value[:80]}")

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop()[0] != tag:
            self.faults.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        for tag, place in self._open:
            self.texts[tag][place] += data


def read_page(text: str) -> Page:
    """Return a page that is sound: tags match, ids are unique, links lead somewhere, nothing is asked for or run."""
    page = Page(text)
    assert page.faults == []
    assert len(set(page.ids)) == len(page.ids)
    assert {link[1:] for link in page.links} <= set(page.ids)
    return page
