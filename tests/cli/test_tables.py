"""Tables of a terminal: what is cut, wrapped and aligned, and how figures are written."""

from __future__ import annotations

import io
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from lab.cli.tables import plain, records, scores, share
from lab.results.result import Result
from tests.figure_runs import score

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


def scores_of(*own: tuple[str, int], branches: dict[int, tuple[str, int]] | None = None) -> Any:
    """A result with these probes, and branches of a wsd run."""
    curves = [
        {"step": 5, "branch": steps, "rows": 9, "scores": [vars(score(*probe, 0.25, 0.5))]}
        for steps, probe in (branches or {}).items()
    ]
    curves.append({"step": 7, "rows": 9, "scores": [{"probe": "a", "length": 1, "exact": 1.0}]})
    experiment = {"train": {"seed": 3, "threshold": 1.0}}
    probes = tuple(score(*probe, 0.75, 1.0) for probe in own)
    return Result("runs/x", experiment, probes, curves, 1.0, {})


def test_probes_are_in_the_order_of_their_lengths_and_branches_are_rows() -> None:
    """A label's probes together, shortest first; then every branch of wsd, in the same columns."""
    result = scores_of(("b", 20), ("a", 8), ("b", 9), branches={300: ("b", 20), 600: ("b", 20)})
    lines = printed(scores([result]), width=120)
    assert [line.split()[:2] for line in lines[1:4]] == [["b", "9"], ["b", "20"], ["a", "8"]]
    assert lines[4].startswith("b (branch 300)") and lines[5].startswith("b (branch 600)")
    assert all("0.750" in line and "1.000" in line for line in lines[1:4])
    assert all("0.500" in line and "0.250" in line for line in lines[4:])
    many = scores_of(*(("b", n) for n in range(20, 1, -1)), branches={300: ("b", 20)})
    rows = [line.split() for line in printed(scores([many, many]), width=120)][1:]
    assert [int(row[1]) for row in rows[:-1]] == list(range(2, 21))
    assert rows[-1][:3] == ["b", "(branch", "300)"]


def test_shares() -> None:
    assert [share(x) for x in (None, 0.0, 0.12345, 1.0)] == ["-", "0.000", "0.123", "1.000"]
