"""Tables of a terminal: what is cut, wrapped and aligned, and how figures are written."""

from __future__ import annotations

import io
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from lab.cli.tables import plain, records, share

WORD = st.text("abcdefgh", min_size=1, max_size=30)


def printed(table: Any, width: int = 80) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    console.print(table)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert isinstance(text, str)
    return text.splitlines()


@given(st.lists(st.tuples(WORD, st.integers(0, 10**6)), min_size=1, max_size=5))
def test_no_character_is_lost_where_the_terminal_is_narrow(rows: list[tuple[str, int]]) -> None:
    cells = [[name, str(number)] for name, number in rows]
    lines = printed(plain(["name", "number"], cells, left=["name"]), width=24)
    assert max(map(len, lines)) <= 24
    width = max(len("number"), *(len(number) for _, number in cells))  # numbers are not wrapped
    names = [line[:-width].strip() for line in lines]
    numbers = [line[-width:].strip() for line in lines]
    assert "".join(names) == "name" + "".join(name for name, _ in rows)
    assert [text for text in numbers if text] == ["number", *(number for _, number in cells)]


def test_texts_are_left_and_numbers_right() -> None:
    lines = printed(plain(["task", "length"], [["copy", "8"], ["parity", "120"]], left=["task"]))
    assert lines == ["task    length", "copy         8", "parity     120"]


def test_columns_of_records() -> None:
    rows: list[dict[str, Any]] = [{"model": "a", "ms": 1.23456}, {"model": "bb", "count": 12}]
    assert [line.split() for line in printed(records(rows))] == [
        ["model", "ms", "count"],
        ["a", "1.23", "-"],
        ["bb", "-", "12"],
    ]


def test_shares() -> None:
    assert [share(x) for x in (None, 0.0, 0.12345, 1.0)] == ["-", "0.000", "0.123", "1.000"]
