"""The figure of a claim, by one grammar: on the left what the paper draws, on the right every seed.

    left    the claim's own curve: a line for each arm, named where it ends (lab.figures.ends)
    right   the statistic of each seed as a dot, its median and interval; the bar as a line, the
            side on which a claim holds shaded; the same of the negative control

Both are drawn from the record of a claim, whose texts may be a stranger's: none is markup.
"""

from __future__ import annotations

import math
import textwrap
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lab.figures.draw import STYLE
from lab.figures.ends import SOFT, spread
from lab.figures.style import printable
from lab.stats import over_seeds

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, FigureBase

WIDTH, HEIGHT = 8.3, 3.7  # inches: 9 points are 12 pixels where the figure is 830 wide
ROW = 2.3  # inches of each further row of axes on the left
SIZES = {
    "axes.labelsize": 9,
    "axes.titlesize": 9.5,
    "font.size": 9,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
}
LEFT, RIGHT = -0.75, 1.75  # of the x axis, in about inches
STARTS = (0, 1.22)  # of the dots of the claim's seeds, and of those of its control
DODGE = 0.095  # between dots of equal values


def claim_figure(
    record: Mapping[str, Any],
    draw: Callable[[FigureBase, Mapping[str, Any]], None] | None = None,
    axis: str = "",
) -> Figure:
    """The figure of a record. draw: what its claim draws on the left; None for a claim that is not
    known here, which has the right side alone. axis: the statistic in a few words; "" for the
    record's own.

    What `draw` raises where the record is not one of its claim.
    """
    import matplotlib.style
    from matplotlib.figure import Figure

    with matplotlib.style.context(["default", STYLE, SIZES]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a box stands for the letter
        warnings.filterwarnings("ignore", "constrained_layout not applied")  # an endless label
        figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
        if draw:
            parts: Any = figure.subfigures(1, 2, width_ratios=(1.8, 1), wspace=0.04)
            left, right = parts
            draw(left, record)
            rows = [a.get_subplotspec().get_gridspec().nrows for a in left.axes if a.has_data()]
            figure.set_figheight(HEIGHT + ROW * (max(rows, default=1) - 1))
        else:
            figure.set_figwidth(WIDTH / 2)
            right = figure
        _seeds(right, record, axis or record["statistic"])
        printable(figure)
        figure.draw_without_rendering()
        for axes in figure.axes:
            spread(axes)
        figure.set_layout_engine("none")  # places are found: saving need not look for them again
    return figure


def _seeds(figure: FigureBase, record: Mapping[str, Any], axis: str) -> None:
    """The seeds of the claim and of its control against the bar."""
    axes = figure.subplots()
    bar, above, control = record["threshold"], record["above"], record["negative_control"]
    low, high = _limits([bar, *record["values"], *control["values"]])
    axes.set(xlim=(LEFT, RIGHT), ylim=(low, high))
    axes.axhspan(bar, high if above else low, color="0.93", linewidth=0, zorder=0)
    axes.axhline(bar, linewidth=1.6, color="black", zorder=1)
    _word(axes, f"bar {bar:.3g}", (RIGHT, bar), (-2, 3 if above else -3), va=_va(above), ha="right")
    for hollow, side in enumerate((record, control)):
        _side(axes, bool(hollow), side["values"], record)
    beyond = sum(v >= bar if above else v <= bar for v in record["values"])
    told = f"{beyond} of {len(record['values'])} seeds reach the bar"
    names = [
        f"{_short(record['verdict'], 20)}:\n{_short(told, 60, 14)}",
        f"control {_short(control['verdict'], 20)}:\n{_short(control['why'], 70, 17)}",
    ]
    axes.set_xticks([x - 0.08 for x in STARTS], names)
    axes.tick_params(axis="x", length=0)
    axes.set_title(_short(axis, 120, 34), loc="left")


def _limits(values: Sequence[float]) -> tuple[float, float]:
    """Ends of an axis for these values; infinite ones are drawn at its ends."""
    finite = [v for v in values if math.isfinite(v)]
    low, high = min(finite), max(finite)
    room = 0.12 * (high - low) or 1
    return low - room, high + room


def _side(axes: Axes, hollow: bool, values: Sequence[float], record: Mapping[str, Any]) -> None:
    """The dots of some seeds, and to the left of them median and interval. Those of the control are
    hollow."""
    (low, high), start = axes.get_ylim(), STARTS[hollow]
    ends = [min(max(v, low), high) for v in values]
    offsets = beside(ends, 0.035 * (high - low))
    axes.plot(
        [start + DODGE * offset for offset in offsets],
        ends,
        "o",
        ms=6,
        color="black",
        mfc="white" if hollow else "black",
        mec="black" if hollow else "white",
        mew=1.1 if hollow else 0.6,
        clip_on=False,
        zorder=3,
    )
    found = over_seeds(ends, "low" if record["above"] else "high")
    if found is None:
        return
    at = start - 0.16
    axes.vlines(at, found.low, found.high, color=SOFT, linewidth=1.4)
    axes.plot(at, found.median, "_", ms=9, mew=2.4, color="black")
    told = f"median\n{found.median:.3g}"
    va = "bottom" if found.median >= record["threshold"] else "top"  # clear of the bar
    how = {"va": va, "ha": "right", "multialignment": "center", "fontsize": 8}
    _word(axes, told, (at, found.median), (-6, -2 if va == "bottom" else 2), **how)


def beside(values: Sequence[float], least: float) -> list[int]:
    """How many places each dot moves aside so that those less than `least` apart stand beside each
    other: the first place in which no dot is so near."""
    offsets = [0] * len(values)
    last: list[float] = []  # of each place
    for i in sorted(range(len(values)), key=values.__getitem__):
        free = [place for place, value in enumerate(last) if values[i] - value >= least]
        offsets[i] = free[0] if free else len(last)
        last[offsets[i] : offsets[i] + 1] = [values[i]]
    return offsets


def _word(
    axes: Axes, text: str, at: tuple[float, float], offset: tuple[float, float], **how: Any
) -> None:
    axes.annotate(text, at, offset, textcoords="offset points", annotation_clip=False, **how)


def _va(above: bool) -> str:
    return "bottom" if above else "top"


def _short(text: str, letters: int, width: int = 0) -> str:
    """At most so many letters of a text that may be a stranger's, in lines of a width."""
    short = textwrap.shorten(text, letters, placeholder=" …")
    return textwrap.fill(short, width) if width else short
