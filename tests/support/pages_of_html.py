"""What a page of HTML has, read by Python's own parser."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"meta", "input", "link", "img", "br", "hr"}
NEEDED_CLOSE = {"table", "tr", "td", "th", "section", "figure", "dl", "div", "main", "ol", "li", "pre", "svg", "select"}


class Read(HTMLParser):
    """A page.

    Attributes:
        tags: every element, in order.
        text: all that is shown, one space between the pieces.
        title: in the head.
        language: that the page says it is in.
        policy: its Content-Security-Policy.
        addresses: what it would ask the network for, or a link leads to; not places within it.
        handlers: attributes that would run a script.
        tables: rows of cells of every table, by the identifier of its figure or, of others, its number.
        figures: from the identifier of a figure to the title and description of its picture.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.title = self.language = self.policy = ""
        self.addresses: list[str] = []
        self.handlers: list[str] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.figures: dict[str, dict[str, str]] = {}
        self._open: list[str] = []
        self._pieces: list[str] = []
        self._figure = ""
        self.feed(text)
        self.close()
        if self._open:
            raise ValueError(f"not closed: {self._open}")

    @property
    def text(self) -> str:
        return " ".join(" ".join(self._pieces).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {key: value or "" for key, value in attrs}
        self.tags.append(tag)
        if tag in NEEDED_CLOSE or tag in ("title", "desc", "style", "script"):
            self._open.append(tag)
        self.handlers += [key for key in given if key.startswith("on")]
        self.addresses += [
            value
            for key, value in given.items()
            if key.split(":")[-1] in ("href", "src", "action", "data") and not value.startswith("#")
        ]
        if tag == "html":
            self.language = given["lang"]
        elif tag == "meta" and given.get("http-equiv") == "Content-Security-Policy":
            self.policy = given["content"]
        elif tag == "figure":
            self._figure = given["id"]
            self.figures[self._figure] = {}
        elif tag == "table":
            self.tables[self._figure or str(len(self.tables))] = []
        elif tag == "tr":
            self._rows().append([])
        elif tag in ("td", "th"):
            self._rows()[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in NEEDED_CLOSE or tag in ("title", "desc", "style", "script"):
            opened = self._open.pop()
            if opened != tag:
                raise ValueError(f"{opened} is open where {tag} ends")
        if tag == "figure":
            self._figure = ""

    def handle_data(self, data: str) -> None:
        inner = self._open[-1] if self._open else ""
        if inner in ("style", "script"):
            return
        if inner in ("title", "desc"):
            if self._figure:
                self.figures[self._figure][inner] = data
            else:
                self.title = data
            return
        self._pieces.append(data)
        if inner in ("td", "th"):
            self._rows()[-1][-1] += data

    def _rows(self) -> list[list[str]]:
        return list(self.tables.values())[-1]


def read(text: str) -> Read:
    """A page; its elements are closed, each in its place.

    Raises:
        ValueError: one is not.
    """
    return Read(text)
