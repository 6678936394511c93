"""The figure of a claim: every seed against the bar, whatever the curve beside it is."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lab.figures.claim import beside, claim_figure
from tests.hostile import ESCAPE

VALUES = [2.0, 1.5, 3.0, 0.5, 2.5, 4.0]


def record(values: list[float], above: bool = True, **more: Any) -> dict[str, Any]:
    control = {"why": "nothing is left", "values": [0.0] * len(values), "verdict": "fails"}
    told = {"statistic": "lead", "verdict": "holds", "threshold": 1.0, "above": above}
    return {**told, "values": values, "negative_control": control, **more}


def right(figure: Figure) -> Axes:
    return figure.axes[-1]


def dots(ax: Axes, fill: str) -> list[float]:
    return [
        float(y)
        for line in ax.lines
        if line.get_marker() == "o" and line.get_markerfacecolor() == fill
        for y in line.get_ydata()
    ]


def words(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.texts]


@pytest.mark.parametrize("above", [True, False])
def test_every_seed_the_bar_the_interval_and_the_control(above: bool) -> None:
    ax = right(claim_figure(record(VALUES, above)))
    assert sorted(dots(ax, "black")) == sorted(VALUES) and dots(ax, "white") == [0.0] * 6
    assert any(list(line.get_ydata()) == [1.0, 1.0] for line in ax.lines), "the bar"
    assert {"bar 1", "median\n2.25", "median\n0"} == set(words(ax))
    ends = [path.vertices[:, 1].tolist() for c in ax.collections for path in c.get_paths()]
    assert [0.5, 4.0] in ends, "the least and the most of six seeds"
    low, high = ax.get_ylim()
    (shade,) = [patch.get_extents() for patch in ax.patches]
    inside = ax.transData.inverted().transform(shade)
    assert sorted(inside[:, 1]) == pytest.approx([1.0, high] if above else [low, 1.0])
    claim, control = (label.get_text() for label in ax.get_xticklabels())
    assert claim == f"holds:\n{5 if above else 1} of 6 seeds\nreach the bar"
    assert control == "control fails:\nnothing is left" and ax.get_title("left") == "lead"


def test_the_curve_is_on_the_left_and_rows_of_axes_make_it_higher() -> None:
    heights = []
    for rows in (1, 2):

        def draw(figure: Any, told: Any, rows: int = rows) -> None:
            for ax in figure.subplots(rows, 1, squeeze=False)[:, 0]:
                ax.plot(told["values"])

        figure = claim_figure(record(VALUES), draw, "in a few words")
        assert right(figure).get_title("left") == "in a few words" and len(figure.axes) == rows + 1
        boxes = [ax.get_window_extent() for ax in figure.axes]
        assert all(box.x1 < boxes[-1].x0 for box in boxes[:-1])
        heights.append(figure.get_figheight())
    assert heights[0] < heights[1]


def test_infinite_values_one_seed_and_equal_values() -> None:
    ax = right(claim_figure(record([math.inf, 2.0])))
    assert max(dots(ax, "black")) == ax.get_ylim()[1] < math.inf
    one = right(claim_figure(record([1.0])))
    assert dots(one, "black") == [1.0] and words(one) == ["bar 1"], "one seed has no interval"
    assert right(claim_figure(record([1.0] * 6))).get_ylim()[1] > 1


def test_texts_of_a_strangers_record_are_text() -> None:
    long = ESCAPE * 500
    told = record(VALUES, statistic=long, verdict=long)
    told["negative_control"] |= {"why": long, "verdict": long}
    figure = claim_figure(told, lambda figure, told: figure.subplots().set_title(ESCAPE))
    title = figure.axes[0].get_title()
    assert "\x1b" not in title and "\\x1b" in title and "$x^{" in title
    assert len(right(figure).get_title("left")) < 200


@given(
    values=st.lists(st.floats(0, 1) | st.sampled_from([0.0, 0.5]), min_size=1, max_size=12),
    least=st.floats(0.01, 0.5),
)
def test_dots_that_are_near_stand_beside_each_other(values: list[float], least: float) -> None:
    places = beside(values, least)
    for i, a in enumerate(values):
        near = [j for j, b in enumerate(values) if j != i and abs(a - b) < least]
        assert all(places[j] != places[i] for j in near)
        assert places[i] <= len(near)
