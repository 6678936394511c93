"""A strict reader of HTML pages, for the tests of reports."""

from __future__ import annotations

import itertools
from html.parser import HTMLParser
from typing import Any

# What a stranger may write into a run folder.
EVIL = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>&amp; $x^{ \x1b[31m"

VOID = {"meta", "link", "br", "hr", "img", "input"}


class Page(HTMLParser):
    """A strict reading: every element is closed where it must be. Elements with their attributes
    and text, in order of opening."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[dict[str, Any]] = []
        self.all: list[dict[str, Any]] = []
        self.feed(text)
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs)
        made = {"tag": tag, "text": "", "depth": len(self.open), **dict(attrs)}
        self.all.append(made)
        if tag not in VOID:
            self.open.append(made)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop()["tag"] == tag

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element["text"] += data

    def find(self, tag: str, class_: str = "") -> list[dict[str, Any]]:
        """The elements with a tag, and with a class if one is given."""
        return [
            e
            for e in self.all
            if e["tag"] == tag and (not class_ or class_ in (e.get("class") or "").split())
        ]

    def inside(self, element: dict[str, Any]) -> list[dict[str, Any]]:
        """All elements within one."""
        start = next(i for i, e in enumerate(self.all) if e is element) + 1
        deeper = itertools.takewhile(lambda e: e["depth"] > element["depth"], self.all[start:])
        return list(deeper)

    def table(self, caption: str) -> list[list[str]]:
        """The cells of the table with this caption, heads first."""
        start = next(i for i, e in enumerate(self.all) if e["text"].strip() == caption)
        rows: list[list[str]] = []
        for element in self.all[start:]:
            if element["tag"] in ("p", "section", "table"):
                break
            if element["tag"] == "tr":
                rows.append([])
            elif element["tag"] in ("th", "td"):
                rows[-1].append(element["text"])
        return rows
