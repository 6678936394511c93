"""What all figures share: sizes, colours and markers of a series, the legend below the axes.

Colours are those of Okabe and Ito (2008), which colour-blind readers can tell apart.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lab.results.groups import Group
from lab.text import shown

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure


COLUMN, WIDE = 3.4, 7.0  # inches: one column of a paper, and two

COLOURS = ("#000000", "#D55E00", "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
LINES: tuple[Any, ...] = ("-", "--", ":", "-.", (0, (6, 1, 1, 1, 1, 1)), (0, (1, 3)))

GREY = "0.55"

METRICS = {"exact": "exact match", "answer": "right answers"}


def line_style(number: int, line: int | None = None) -> dict[str, Any]:
    """Colour, marker and line style of series `number`; line: a line style of its own."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "marker": MARKERS[number % len(MARKERS)],
        "linestyle": LINES[(number if line is None else line) % len(LINES)],
    }


def sample_of(label: str, **style: Any) -> Artist:
    """A line for the legend alone."""
    from matplotlib.lines import Line2D

    return Line2D([], [], label=label, **style)


def legend(figure: Figure, handles: Sequence[Artist], caption: str) -> None:
    """The legend below the axes, its caption above it, and the figure made higher by both."""
    width = 62 if figure.get_figwidth() == COLUMN else 130  # letters of 7 points
    labels = ["\n".join(textwrap.wrap(str(h.get_label()), width - 8)) for h in handles]
    longest = max((len(line) for text in labels for line in text.split("\n")), default=0)
    columns = max(1, min(len(handles), width // (longest + 8)))
    title = textwrap.fill(caption, width)
    rows = -(-sum(text.count("\n") + 1 for text in labels) // columns) + title.count("\n") + 1
    figure.set_figheight(figure.get_figheight() + 0.15 * rows + 0.05)
    figure.legend(
        handles,
        labels,
        title=title,
        title_fontsize=7,
        alignment="left",
        loc="outside lower left",
        ncols=columns,
        handlelength=3,
        borderpad=0,
        columnspacing=1.2,
    )


def printable(figure: Figure) -> None:
    """Spell out the control characters in the texts of a figure, which may come from a file."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_text(shown(text.get_text(), keep="\n"))


def title(grouped: Sequence[Group]) -> str:
    """What all groups share in a few words: the experiment's name, and whether it has a thought."""
    names = {g.settings["name"] for g in grouped}
    cot = {g.settings["cot"] for g in grouped}
    parts = [names.pop()] if len(names) == 1 else []
    if len(cot) == 1:
        parts.append("CoT" if cot.pop() else "no CoT")
    return ", ".join(parts)


def seeds(grouped: Sequence[Group]) -> str:
    """How many seeds the groups have: "3 seeds", "2 to 5 seeds", "one seed"."""
    counts = sorted({len(g.results) for g in grouped})
    if counts == [1]:
        return "one seed"
    return f"{counts[0]} to {counts[-1]} seeds" if len(counts) > 1 else f"{counts[0]} seeds"


def thousands(x: float, _: object = None) -> str:
    """A number of rows on an axis: 500, 25.6k, 1.5M."""
    return f"{x / 1e6:g}M" if x >= 1e6 else f"{x / 1e3:g}k" if x >= 1e3 else f"{x:g}"
