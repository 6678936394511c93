"""Train length by test length as a heat map, and samples to learn as bars."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from lab._canvas import COLUMN, METRICS, WIDE, legend, sample_of, seeds, thousands, title
from lab._groups import Group, span
from lab._plot_series import by_length, evaluations
from lab.results import Result, samples_to
from lab.stats import median
from tasks import refuse

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

PANELS = 9


def heatmap(found: list[Group], metric: str | None) -> Figure:
    """Mean accuracy by longest training length (rows) and test length (columns); a panel for each
    label of probes and each other setting. A step parts longer tests from the training range."""
    from matplotlib.figure import Figure

    metric = metric or "answer"
    trained = sorted({g.lengths for g in found}, key=lambda r: (max(r), r))
    if len(trained) < 2:
        says = f"all these runs were trained at {span(trained[0])}; it compares two ranges or more"
        raise refuse("kind", "heatmap", says)
    cells: dict[tuple[str, str], dict[tuple[int, int], float]] = {}
    for group in found:
        for series in by_length(group, metric):
            panel = cells.setdefault((group.label, series.label), {})
            for x, values in zip(series.x.tolist(), series.values, strict=True):
                panel[trained.index(group.lengths), x] = float(values.mean())
    if len(cells) > PANELS:
        says = f"these runs fill {len(cells)} panels, {PANELS} are allowed; draw fewer at a time"
        raise refuse("kind", "heatmap", says)
    columns = 1 if len(cells) == 1 else 2 if len(cells) < 5 else 3
    down = -(-len(cells) // columns)
    width = COLUMN if columns == 1 else WIDE
    height = down * max(1.5, 0.9 + 0.2 * len(trained)) + 0.2
    figure = Figure(figsize=(width, height), layout="constrained")
    grid = [figure.add_subplot(down, columns, i + 1) for i in range(len(cells))]
    for axes, ((other, probe), panel) in zip(grid, cells.items(), strict=True):
        image = _cells(axes, trained, panel, (width - 1.2) / columns)
        parts = [title(found)] if len(cells) == 1 else []
        axes.set_title(", ".join(part for part in [*parts, other, probe] if part), loc="left")
    over = "" if seeds(found) == "one seed" else f",\nmean of {seeds(found)}"
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
        if 0 < inside < len(tests):
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


def samples(found: list[Group], metric: str | None) -> Figure:
    """Training rows until the first probe was first found learned: a bar for each group, the median
    over seeds, and a mark for each seed. A run that never learned is censored at its budget: its
    mark is an arrow, and a median that is only a lower bound is a hatched bar."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    if metric:
        raise refuse("metric", metric, "samples to learn always count exact matches")
    told = [[first_learned(result) for result in group.results] for group in found]
    names = [textwrap.fill(group.label or title(found), 24) for group in found]
    lines = sum(name.count("\n") + 1 for name in names)
    figure = Figure(figsize=(COLUMN, 0.75 + 0.12 * len(found) + 0.14 * lines), layout="constrained")
    axes = figure.add_subplot()
    plain: dict[str, Any] = {"facecolor": "0.75", "edgecolor": "0.35", "linewidth": 0.6}
    hatched = plain | {"facecolor": "white", "hatch": "/////"}
    dot: dict[str, Any] = {"color": "black", "linestyle": "", "markersize": 3}
    arrow = dot | {"marker": ">", "markersize": 4.5, "markerfacecolor": "white"}
    dot |= {"marker": "o"}
    for y, of_group in enumerate(told):
        rows, cut = [one["rows"] for one in of_group], [one["censored"] for one in of_group]
        middle, bound = median(rows, cut)
        axes.barh(y, middle, height=0.66, **(hatched if bound else plain))
        for number, (x, gone) in enumerate(zip(rows, cut, strict=True)):
            offset = 0.5 * ((number + 0.5) / len(rows) - 0.5)
            if gone or len(rows) > 1:  # a lone seed is its bar
                axes.plot(x, y - offset, clip_on=False, **(arrow if gone else dot))
    every = [one for of_group in told for one in of_group]
    several = len(every) > len(found)
    if max(one["rows"] for one in every) > 30 * min(one["rows"] for one in every):
        axes.set_xscale("log")
    axes.set_yticks(range(len(found)), names)
    axes.invert_yaxis()
    axes.xaxis.set_major_formatter(thousands)
    axes.set_xlabel(f"training rows until {_goal(every)}")
    axes.set_title(title(found), loc="left")
    learned = [one for one in every if not one["censored"]]
    handles: list[Artist] = []
    if any(not bar.get_hatch() for bar in axes.patches):
        handles.append(Patch(label="learned (median)" if several else "learned", **plain))
    if several and learned:
        handles.append(sample_of("seed", **dot))
    if any(bar.get_hatch() for bar in axes.patches):
        handles.append(Patch(label="more than the budget", **hatched))
    if len(learned) < len(every):
        handles.append(sample_of("seed that did not learn within its budget", **arrow))
    legend(figure, handles, f"Found at evaluations during training; {seeds(found)}.")
    return figure


def _goal(every: list[dict[str, Any]]) -> str:
    """What was to be learned: "held out (length 20) exact >= 1"."""
    probes = {(one["probe"], one["length"]) for one in every}
    labels = {probe for probe, _ in probes}
    thresholds = {one["threshold"] for one in every}
    what = "the first probe" if len(labels) > 1 else labels.pop()
    if len(probes) == 1:
        what += f" (length {every[0]['length']})"
    least = f"{thresholds.pop():g}" if len(thresholds) == 1 else "its threshold"
    return f"{what}\nhas exact match at least {least}"


def first_learned(result: Result) -> dict[str, Any]:
    """Of the first probe: label, length, threshold, rows, censored, as Result.learned has it."""
    if len(evaluations(result)) < 2:
        says = f"{result.run} was evaluated only at its end; run it with --eval-every"
        raise refuse("kind", "samples", says)
    threshold = result.experiment["train"].get("threshold", 1.0)
    return (result.learned or samples_to(evaluations(result), threshold))[0]
