"""Lines named where they end: colours, names that do not overlap."""

from __future__ import annotations

from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from lab.figures.ends import END, HUES, median_line, spread, without_overlap


def lightness(colour: str) -> float:
    """L* of CIELAB, from 0 to 100, by its definition."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    y = sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    return 116 * y ** (1 / 3) - 16 if y > 0.008856 else 903.3 * y


def test_colours_differ_in_a_grey_copy() -> None:
    """Ten steps of lightness apart, in order, and none as light as paper."""
    greys = [lightness(colour) for colour in HUES]
    assert all(b - a >= 10 for a, b in pairwise(greys)) and greys[-1] < 80


boxes = st.lists(st.tuples(st.floats(-50, 50), st.floats(0.5, 9)), min_size=1, max_size=8)


@given(boxes=boxes, floor=st.floats(-60, 60))
def test_boxes_apart(boxes: list[tuple[float, float]], floor: float) -> None:
    middles, heights = zip(*sorted(boxes), strict=True)
    moved = without_overlap(middles, heights, floor)
    ends = [(m - h / 2, m + h / 2) for m, h in zip(moved, heights, strict=True)]
    assert len(moved) == len(middles) and ends[0][0] >= floor - 1e-6
    assert all(b[0] >= a[1] - 1e-6 for a, b in pairwise(ends)), "in order, none overlaps"
    before = [(m - h / 2, m + h / 2) for m, h in zip(middles, heights, strict=True)]
    if before[0][0] >= floor and all(b[0] >= a[1] for a, b in pairwise(before)):
        assert moved == pytest.approx(middles), "free boxes stay"


def test_two_boxes_at_one_place_move_by_half() -> None:
    assert without_overlap([5, 5], [2, 2]) == [4, 6]
    assert without_overlap([0, 0, 10], [2, 2, 2], floor=0) == [1, 3, 10]


def test_names_of_lines_that_end_together_do_not_overlap() -> None:
    figure = Figure(layout="constrained")
    ax = figure.subplots()
    for number in range(5):
        median_line(ax, {1: [0.0, 0.2, 5], 2: [0.001 * number]}, f"line {number}", number)
    figure.draw_without_rendering()
    spread(ax)
    labels = [text for text in ax.texts if text.get_gid() == END]
    extents = [label.get_window_extent() for label in labels]
    assert all(a.y0 + 0.5 >= b.y1 or b.y0 + 0.5 >= a.y1 for a, b in combinations(extents, 2))
    assert [e.y0 for e in extents] == sorted(e.y0 for e in extents), "in the order of the lines"
    assert extents[0].y0 >= ax.get_window_extent().y0 - 0.5, "clear of the numbers below the axes"
    shades = [[0.75 * part for part in to_rgb(colour)] for colour in HUES]
    for text, shade in zip(labels, shades, strict=True):
        assert to_rgb(text.get_color()) == pytest.approx(shade, abs=0.003)
        assert lightness(text.get_color()) < 62, "three times as dark as paper"
    lines = [line for line in ax.lines if line.get_linestyle() != "None"]
    assert [list(line.get_ydata()) for line in lines] == [[0.2, 0.001 * n] for n in range(5)]
