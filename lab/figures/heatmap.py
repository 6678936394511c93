"""Accuracy as a heat map: training length by test length."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np

from lab.figures.series import by_length
from lab.figures.style import COLUMN, METRICS, WIDE, seeds, title
from lab.results.groups import Group, span
from tasks import refuse

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage


LETTERS = 15  # of a title, in an inch
PANELS = 9


def heatmap(grouped: list[Group], metric: str | None) -> Figure:
    """Accuracy, the median over seeds, by longest training length (rows) and test length (columns);
    a panel for each label of probes and each other setting. A step in each row separates the test
    lengths within the training range from longer ones."""
    from matplotlib.figure import Figure

    metric = metric or "answer"
    trained = sorted({g.lengths for g in grouped}, key=lambda r: (max(r), r))
    if len(trained) < 2:
        message = (
            f"all these runs were trained at {span(trained[0])}; it compares two or more ranges"
        )
        raise refuse("kind", "heatmap", message)
    cells: dict[tuple[str, str], dict[tuple[int, int], float]] = {}
    for group in grouped:
        for series in by_length(group, metric):
            panel = cells.setdefault((group.label, series.label), {})
            for x, values in zip(series.x.tolist(), series.values, strict=True):
                panel[trained.index(group.lengths), x] = float(np.median(values))
    if len(cells) > PANELS:
        message = f"these runs fill {len(cells)} panels, {PANELS} are allowed; draw fewer at a time"
        raise refuse("kind", "heatmap", message)
    columns = 1 if len(cells) == 1 else 2 if len(cells) < 5 else 3
    down = -(-len(cells) // columns)
    width = COLUMN if columns == 1 else WIDE
    height = down * max(1.5, 0.9 + 0.2 * len(trained)) + 0.2
    figure = Figure(figsize=(width, height), layout="constrained")
    grid = [figure.add_subplot(down, columns, i + 1) for i in range(len(cells))]
    for axes, ((other, probe), panel) in zip(grid, cells.items(), strict=True):
        image = _cells(axes, trained, panel, (width - 1.2) / columns)
        parts = [title(grouped)] if len(cells) == 1 else []
        text = ", ".join(part for part in [*parts, other, probe] if part)
        axes.set_title(textwrap.fill(text, int(LETTERS * width / columns)), loc="left")
    lines = max(axes.get_title(loc="left").count("\n") for axes in grid)
    figure.set_figheight(height + 0.14 * lines * down)
    over = "" if seeds(grouped) == "one seed" else f",\nmedian of {seeds(grouped)}"
    figure.colorbar(image, ax=grid, pad=0.02, label=METRICS[metric] + over)
    return figure


def _cells(
    axes: Axes,
    trained: list[tuple[int, ...]],
    panel: dict[tuple[int, int], float],
    inches: float,
) -> AxesImage:
    """One panel; numbers stand in cells that are wide enough. Cells without a value are hatched."""
    from matplotlib.patches import Rectangle

    tests = sorted({test for _, test in panel})
    table = np.full((len(trained), len(tests)), np.nan)
    for (row, test), value in panel.items():
        table[row, tests.index(test)] = value
    corner = (-0.5, -0.5)
    empty = Rectangle(corner, len(tests), len(trained), hatch="////", fill=False, edgecolor="0.7")
    axes.add_patch(empty).set_zorder(0)
    masked = np.ma.masked_invalid(table)
    image = axes.imshow(masked, cmap="cividis", vmin=0, vmax=1, origin="lower", aspect="auto")
    for row, lengths in enumerate(trained):
        inside = sum(test <= max(lengths) for test in tests)
        if 0 < inside < len(tests) and np.isfinite(table[row]).any():
            edge = ([inside - 0.5] * 2, [row - 0.5, row + 0.5])
            axes.plot(*edge, color="white", linewidth=2.6, solid_capstyle="butt")
            axes.plot(*edge, color="black", linewidth=1.2, solid_capstyle="butt", label="edge")
    if inches / len(tests) >= 0.28:
        for (row, column), value in np.ndenumerate(table):
            if np.isfinite(value):
                dark = "white" if value < 0.55 else "black"
                axes.text(column, row, f"{value:.2f}", color=dark, ha="center", va="center")
    every = 1 + (len(tests) - 1) // max(1, int(inches / 0.25))
    axes.set_xticks(range(0, len(tests), every), [str(x) for x in tests[::every]])
    longest = [max(lengths) for lengths in trained]
    plain = len(set(longest)) == len(longest)
    axes.set_yticks(range(len(trained)), [str(max(r)) if plain else span(r) for r in trained])
    axes.set(xlabel="test length", ylabel="trained up to" if plain else "trained at")
    return image
