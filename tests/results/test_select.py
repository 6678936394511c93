"""Rows of runs chosen and ordered, against the same by hand."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.results.select import cut, matching, ordered

VALUES = st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-2, 2) | st.sampled_from("ab")
ROWS = st.lists(st.fixed_dictionaries({"task.k": VALUES, "exact": VALUES}), max_size=8)


def number(value: Any) -> bool:
    return type(value) in (int, float)


@given(ROWS, st.floats(-2, 2), st.sampled_from(["<", "<=", ">", ">="]))
def test_an_order_is_that_of_numbers(rows: list[dict[str, Any]], limit: float, sign: str) -> None:
    expected = [r for r in rows if number(r["exact"]) and eval(f"{r['exact']!r} {sign} {limit!r}")]
    assert matching(rows, [f"exact{sign}{limit!r}"]) == expected


@given(ROWS, st.sampled_from(["2", "a", "true", "none"]))
def test_what_is_not_equal_is_the_rest(rows: list[dict[str, Any]], value: str) -> None:
    equal, other = (matching(rows, [f"k{sign}{value}"]) for sign in ("=", "!="))
    assert [r for r in rows if r in equal] == equal and len(equal) + len(other) == len(rows)
    told = {"2": 2, "a": "a", "true": True, "none": None}[value]
    kinds = (bool,) if value == "true" else (type(told), float) if value == "2" else (type(told),)
    assert equal == [r for r in rows if type(r["task.k"]) in kinds and r["task.k"] == told]


@given(ROWS)
def test_rows_are_ordered_and_none_is_lost(rows: list[dict[str, Any]]) -> None:
    up, down = ordered(rows, ["exact"]), ordered(rows, ["-exact"])
    for made in (up, down):
        assert sorted(map(id, made)) == sorted(map(id, rows))
        known = [row["exact"] is not None for row in made]
        assert known == sorted(known, reverse=True), "what has no value is last"
    numbers = [row["exact"] for row in up if number(row["exact"])]
    assert numbers == sorted(numbers)
    numbers = [row["exact"] for row in down if number(row["exact"])]
    assert numbers == sorted(numbers, reverse=True)


def test_the_second_field_decides_between_equals() -> None:
    rows = [{"a": a, "b": b} for a in (1, 2) for b in (1, 2)]
    assert [(r["a"], r["b"]) for r in ordered(rows, ["-a", "b"])] == [
        (2, 1),
        (2, 2),
        (1, 1),
        (1, 2),
    ]


def test_plain_names_and_lists() -> None:
    rows = [{"train.lengths": (4, 6), "train.lr": 0.1}, {"train.lengths": (4,), "train.lr": 0.2}]
    assert matching(rows, ["lengths=4,6"]) == rows[:1] == matching(rows, ["train.lr=0.1"])
    assert cut(rows, ["lr"]) == [{"lr": 0.1}, {"lr": 0.2}]


@pytest.mark.parametrize("text", ["k", "=3", "", "<", "k>x", "q=1"])
def test_other_conditions_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="--where"):
        matching([{"task.k": 1}], [text])
    for function in (ordered, cut):
        with pytest.raises(ValueError, match="'q' cannot be used: no run here has such a field"):
            function([{"task.k": 1}], ["q"])
