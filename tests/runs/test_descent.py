"""Coordinate descent against what it must find, and what it may cost."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.runs.descent import Point, coordinate_descent, end

SIZES = st.lists(st.integers(1, 4), min_size=1, max_size=3)


def tables(sizes: list[int]) -> st.SearchStrategy[dict[Point, float]]:
    points = list(itertools.product(*map(range, sizes)))
    loss = st.sampled_from([0.0, 1.0, 2.0, 3.0, math.inf, math.nan])
    return st.lists(loss, min_size=len(points), max_size=len(points)).map(
        lambda losses: dict(zip(points, losses, strict=True))
    )


CASES = SIZES.flatmap(lambda sizes: st.tuples(st.just(sizes), tables(sizes)))


@given(CASES, st.integers(1, 3))
def test_trials_are_asked_for_once_and_the_end_has_no_better_neighbour(
    case: tuple[list[int], dict[Point, float]], passes: int
) -> None:
    sizes, table = case
    asked: list[Point] = []

    def measure(points: list[Point]) -> Sequence[float]:
        asked.extend(points)
        return [table[point] for point in points]

    trials = coordinate_descent(sizes, measure, passes)
    assert list(trials) == asked and len(set(asked)) == len(asked)
    assert asked[0] == (0,) * len(sizes)
    assert len(asked) <= 1 + passes * sum(size - 1 for size in sizes)
    known = {p: math.inf if math.isnan(table[p]) else table[p] for p in trials}
    assert trials == known
    # On the last axis the end is the best, whatever the others are; with enough passes on all.
    best = end(trials)
    enough = coordinate_descent(sizes, lambda points: [table[p] for p in points], len(table))
    for point, axes in ((best, [len(sizes) - 1]), (end(enough), range(len(sizes)))):
        for axis in axes:
            line = [table[(*point[:axis], i, *point[axis + 1 :])] for i in range(sizes[axis])]
            least = min([x for x in line if not math.isnan(x)], default=math.inf)
            assert table[point] == least or least == math.inf


@given(st.lists(st.permutations(range(4)), min_size=1, max_size=3))
def test_one_pass_finds_the_least_sum(axes: list[list[int]]) -> None:
    """Where the loss is a sum over axes, no axis has to be tried again."""

    def measure(points: list[Point]) -> list[float]:
        return [sum(axis[i] for axis, i in zip(axes, p, strict=True)) for p in points]

    trials = coordinate_descent([4] * len(axes), measure, 1)
    assert trials[end(trials)] == 0 and len(trials) == 1 + 3 * len(axes)
    assert end(coordinate_descent([4] * len(axes), measure, 3)) == end(trials)


def test_bad_searches_are_refused() -> None:
    for sizes, passes, name in (([], 1, "sizes"), ([2, 0], 1, "sizes"), ([2], 0, "passes")):
        with pytest.raises(ValueError, match=name):
            coordinate_descent(sizes, lambda points: [0.0] * len(points), passes)
