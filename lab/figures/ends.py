"""Lines that are named where they end: a median over seeds, and a dot for each seed.

Colours are of Paul Tol's high-contrast and medium-contrast schemes (SRON/EPS/TN/09-002), which
colour-blind readers can tell apart. Each is lighter than the one before, so that they differ in a
grey copy too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, Any

from lab.figures.style import LINES, MARKERS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Text
    from matplotlib.transforms import Bbox

HUES = ("#000000", "#004488", "#BB5566", "#6699CC", "#DDAA33")
SOFT = "0.45"  # of words beside the data
END = "end"  # the gid of a label at the end of a line


def hue(number: int) -> str:
    """The colour of line `number`."""
    return HUES[number % len(HUES)]


def median_line(
    axes: Axes,
    points: Mapping[float, Sequence[float]],
    label: str,
    number: int,
    dots: bool = True,
    **style: Any,
) -> None:
    """Draw line `number` through the medians of the values of each x, and name it where it ends.

    points: x in order to the value of each seed there. dots: of the seeds; without them each seed
    is a thin line, which needs a value of every seed at every x.
    """
    colour, marker = hue(number), MARKERS[number % len(MARKERS)]
    middle = [median(values) for values in points.values()]
    xs = list(points)
    if dots:
        for x, values in points.items():
            axes.plot(
                [x] * len(values), values, marker, ms=3.5, color=colour, alpha=0.55, mew=0, zorder=2
            )
    else:
        for values in zip(*points.values(), strict=True):
            axes.plot(xs, values, color=colour, alpha=0.3, linewidth=0.6, zorder=2)
    wide = 2.8 - 0.4 * (number % len(HUES))  # a line below others shows on both sides of them
    look: dict[str, Any] = {
        "color": colour,
        "linestyle": LINES[number // len(HUES) % len(LINES)],  # where colours begin anew
        "linewidth": wide,
        "marker": marker if dots else "",
        "ms": 5,
    }
    axes.plot(xs, middle, zorder=3, **look | style)
    end_label(axes, label, (xs[-1], middle[-1]), colour)


def end_label(axes: Axes, label: str, end: tuple[float, float], colour: str) -> None:
    """Name a line to the right of its end (x, y), in a darker shade, as thin letters need;
    `spread` moves labels that overlap."""
    from matplotlib.colors import to_rgb

    red, green, blue = to_rgb(colour)
    axes.annotate(
        label,
        end,
        (7, 0),
        textcoords="offset points",
        color=(0.75 * red, 0.75 * green, 0.75 * blue),
        va="center",
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
        gid=END,
        annotation_clip=False,
    )


def spread(axes: Axes) -> None:
    """Move labels of lines up and down until none overlaps another, and none is below the axes. The
    figure must have been drawn once, which says where they are."""
    labels = [text for text in axes.texts if text.get_gid() == END]
    boxes = sorted(
        ((label.get_window_extent(), label) for label in labels), key=lambda pair: pair[0].x0
    )
    columns: list[list[tuple[Bbox, Text]]] = []  # of labels that are above one another
    edge = -math.inf
    for box, label in boxes:
        columns = columns if box.x0 < edge else [*columns, []]
        columns[-1].append((box, label))
        edge = max(edge, box.x1)
    for column in columns:
        column.sort(key=lambda pair: pair[0].y0 + pair[0].y1)
        middles = [(box.y0 + box.y1) / 2 for box, _ in column]
        heights = [box.height for box, _ in column]
        moved = without_overlap(middles, heights, axes.get_window_extent().y0)
        for (_, label), before, after in zip(column, middles, moved, strict=True):
            inch = axes.get_figure(root=True).dpi  # type: ignore[union-attr]
            label.set_position((7, (after - before) * 72 / inch))


def without_overlap(
    middles: Sequence[float], heights: Sequence[float], floor: float = -math.inf
) -> list[float]:
    """Middles of boxes in ascending order, moved so that none overlaps or is below the floor: boxes
    that would touch become a block around the mean of where they were."""
    blocks = [([m], [h]) for m, h in zip(middles, heights, strict=True)]
    while True:
        placed = [_block(*block, floor) for block in blocks]
        for i, ((_, top), (bottom, _)) in enumerate(pairwise(placed)):
            if bottom < top - 1e-9:
                low, high = blocks[i], blocks[i + 1]
                blocks[i : i + 2] = [(low[0] + high[0], low[1] + high[1])]
                break
        else:
            break
    moved = []
    for (bottom, _), (_, own) in zip(placed, blocks, strict=True):
        for height in own:
            moved.append(bottom + height / 2)
            bottom += height
    return moved


def _block(middles: Sequence[float], heights: Sequence[float], floor: float) -> tuple[float, float]:
    """Bottom and top of boxes that stand on one another."""
    bottom = max(sum(middles) / len(middles) - sum(heights) / 2, floor)
    return bottom, bottom + sum(heights)


def level(axes: Axes, y: float, word: str) -> None:
    """A dotted line across the axes, with a word below its left end."""
    axes.axhline(y, color=SOFT, linewidth=1, linestyle=(0, (1, 2)), zorder=1)
    axes.annotate(
        word,
        (0, y),
        (3, -2),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        color=SOFT,
        fontsize="small",
        va="top",
    )


def trained_range(axes: Axes, low: float, high: float) -> None:
    """Shade the lengths of training, with the word."""
    axes.axvspan(low, high, color="0.93", linewidth=0, zorder=0)
    axes.annotate(
        "trained",
        ((low + high) / 2, 0),
        (0, 3),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        color=SOFT,
        fontsize="small",
        ha="center",
    )
