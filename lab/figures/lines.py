"""Accuracy against length, and the curves of training: lines with a band.

A line is the median over seeds. The band is its interval (lab.stats), or the Wilson interval over
rows where a group has one seed; the caption says which, and how often it covers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lab.figures.series import (
    Series,
    by_length,
    by_rows,
    decoded,
    evaluations,
    labels_of,
    logged,
)
from lab.figures.style import (
    COLUMN,
    GREY,
    METRICS,
    legend,
    line_style,
    sample_of,
    thousands,
    title,
)
from lab.results.groups import Group, span
from lab.stats import ranks
from tasks import refuse

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


DOTS = 10  # seeds up to which each is shown beside the median


def length(grouped: list[Group], metric: str | None) -> Figure:
    """Accuracy against length, a line for each group and label; the training range is shaded."""
    from matplotlib.figure import Figure

    metric = metric or "answer"
    lines = [by_length(group, metric) for group in grouped]
    tested = sorted({int(x) for of_group in lines for s in of_group for x in s.x})
    if len(tested) < 2:
        raise refuse("kind", "length", f"every probe of these runs has length {tested[0]}")
    figure = Figure(figsize=(COLUMN, 2.1), layout="constrained")
    axes = figure.add_subplot()
    handles = _draw_all(axes, grouped, lines)
    handles += _chance(axes, grouped, metric) + _trained(axes, grouped)
    wide = tested[-1] >= 16 * tested[0]
    if wide:
        axes.set_xscale("log", base=2)
    spots = np.log(tested) if wide else np.array(tested)
    ticks = [0]  # tested lengths, as many as have room for their number
    for i, spot in enumerate(spots):
        if spot - spots[ticks[-1]] >= 0.065 * (spots[-1] - spots[0]):
            ticks.append(i)
    axes.set_xticks([tested[i] for i in ticks], [str(tested[i]) for i in ticks])
    axes.minorticks_off()
    axes.set(xlabel="length", ylabel=METRICS[metric], ylim=(-0.03, 1.03))
    axes.set_title(title(grouped), loc="left")
    legend(figure, handles, _band(grouped))
    return figure


def curve(grouped: list[Group], metric: str | None) -> Figure:
    """Loss, and accuracy below it, against training rows seen: of the first probe of each label,
    and, for runs that were evaluated only at the end, of the training batches."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter

    seen = [evaluations(result) for group in grouped for result in group.results]
    on_the_way = any(len(run) > 1 for run in seen)
    if metric is None:
        metric = "answer" if on_the_way and decoded(grouped) else "exact"
    lines = [by_rows(group, metric) for group in grouped]
    figure = Figure(figsize=(COLUMN, 2.9), layout="constrained")
    upper, lower = figure.subplots(2, sharex=True)
    handles = _draw_all(lower, grouped, lines) + _branches(lower, grouped, metric)
    one_label = len({series.label for of_group in lines for series in of_group}) == 1
    for i, group in enumerate(grouped):
        style = line_style(i) if one_label else line_style(i, 0)  # as the legend has it
        style |= {"linewidth": 0.9, "markersize": 2.5, "markevery": (i, 12)}
        style |= {} if len(grouped) > 1 else {"marker": ""}
        _draw(upper, logged(group, "loss"), style, f"loss of {group.label}")
        if not on_the_way:
            batches = logged(group, "exact")
            _draw(lower, batches, style | {"marker": ""}, f"batches of {group.label}")
    if not on_the_way:
        handles.append(sample_of("training batches, exact match", color="0.3", linewidth=0.9))
    handles += _chance(lower, grouped, metric, flat=True)
    upper.set(yscale="log", ylabel="loss (nats a token)")
    upper.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=8))
    upper.yaxis.set_major_formatter("{x:g}")
    upper.yaxis.set_minor_formatter(NullFormatter())
    upper.set_title(title(grouped), loc="left")
    lower.set(xlabel="training rows seen", ylabel=METRICS[metric], ylim=(-0.03, 1.03))
    lower.xaxis.set_major_formatter(thousands)
    legend(figure, handles, _band(grouped))
    return figure


def _draw_all(axes: Axes, grouped: list[Group], lines: list[list[Series]]) -> list[Artist]:
    """Draw every series of every group; return the entries of the legend. One group: a colour and
    marker for each label of probes; several groups: one for each group, line styles for labels."""
    labels = list(dict.fromkeys(s.label for of_group in lines for s in of_group))
    both = len(grouped) > 1 and len(labels) > 1
    for i, (group, of_group) in enumerate(zip(grouped, lines, strict=True)):
        for series in of_group:
            j = labels.index(series.label)
            style = line_style(i, j) if both else line_style(i if len(grouped) > 1 else j)
            _draw(axes, series, style, f"{group.label}|{series.label}")
    if len(grouped) == 1:
        return [sample_of(label, **line_style(j)) for j, label in enumerate(labels)]
    handles = [
        sample_of(group.label, **(line_style(i, 0) if both else line_style(i)))
        for i, group in enumerate(grouped)
    ]
    if both:
        for j, label in enumerate(labels):
            handles.append(sample_of(label, color="0.3", linestyle=line_style(0, j)["linestyle"]))
    return handles


def _draw(axes: Axes, series: Series, style: dict[str, Any], name: str) -> None:
    """A line of medians with its band; a single point has a bar instead. Few seeds are dots too."""
    middle = np.median(series.values, 1)
    axes.plot(series.x, middle, label=name, zorder=3, **style)
    if len(middle) == 1:
        axes.vlines(series.x, series.low, series.high, color=style["color"], linewidth=0.9)
    elif np.isfinite(series.low).any():
        axes.fill_between(
            series.x,
            series.low,
            series.high,
            color=style["color"],
            alpha=0.15,
            linewidth=0,
            label=f"band of {name}",
        )
    if "markevery" not in style and style["marker"] and 1 < series.values.shape[1] <= DOTS:
        for values in series.values.T:
            dot: dict[str, Any] = {"marker": ".", "markersize": 2, "linestyle": "", "alpha": 0.6}
            axes.plot(series.x, values, color=style["color"], label="_seed", **dot)


def _branches(axes: Axes, grouped: list[Group], metric: str) -> list[Artist]:
    """Budgets decayed as branches of a run: open marks, as each is a model of its own."""
    style = {"linestyle": "", "markerfacecolor": "white", "markersize": 5}
    drawn = False
    for i, group in enumerate(grouped):
        for series in by_rows(group, metric, branches=True)[:1]:
            _draw(axes, series, line_style(i) | style, f"branches of {group.label}")
            drawn = True
    return [sample_of("branch, decayed", **line_style(0) | style)] if drawn else []


def _chance(axes: Axes, grouped: list[Group], metric: str, flat: bool = False) -> list[Artist]:
    """The accuracy of the best fixed answer where it exceeds 0.005: against length, or, flat, that
    of the first probe. None for the exact match of rows with a thought, which no fixed answer
    gets."""
    style: dict[str, Any] = {"color": GREY, "linewidth": 0.9, "linestyle": (0, (1, 1))}
    known: dict[tuple[tuple[int, float], ...], None] = {}
    for group in grouped:
        scores = group.results[0].scores
        for label in {} if metric == "exact" and group.settings["cot"] else labels_of(group, flat):
            known[tuple(sorted((s.length, s.chance) for s in scores if s.probe == label))] = None
    known = {points: None for points in known if max(chance for _, chance in points) > 0.005}
    for points in known:
        if flat:
            axes.axhline(points[0][1], label="chance", zorder=1, **style)
        else:
            axes.plot(*zip(*points, strict=True), label="chance", zorder=1, **style)
    return [sample_of("best fixed guess", **style)] if known else []


def _trained(axes: Axes, grouped: list[Group]) -> list[Artist]:
    """Shade the lengths that all groups were trained on. Where groups differ, a line marks the
    longest training length of each."""
    from matplotlib.patches import Patch

    shade: dict[str, Any] = {"facecolor": "0.9", "edgecolor": "0.75", "linewidth": 0.9}
    ranges = {g.lengths: None for g in grouped}
    low, high = max(min(r) for r in ranges), min(max(r) for r in ranges)
    handles: list[Artist] = []
    if low <= high:
        axes.axvspan(low, high, zorder=0, label="trained", **shade)
        own = span(grouped[0].lengths) if len(ranges) == 1 else f"{low}-{high}"
        handles.append(Patch(label=f"trained at {own}", **shade))
    if len(ranges) > 1:
        for i, group in enumerate(grouped):
            style = {"color": line_style(i)["color"], "linewidth": 0.6, "linestyle": (0, (4, 2))}
            axes.axvline(max(group.lengths), label="end of training", zorder=0, **style)
        grey: dict[str, Any] = {"color": GREY, "linewidth": 0.6, "linestyle": (0, (4, 2))}
        handles.append(sample_of("longest trained at", **grey))
    return handles


def _band(grouped: Sequence[Group]) -> str:
    counts = sorted({len(g.results) for g in grouped})
    if counts == [1]:
        return "Band: 95% Wilson interval over the rows of a probe, one seed."
    dots = ", dots: seeds" if counts[-1] <= DOTS else ""
    text = " ".join([f"Line: median{dots}.", *(f"Band: {ranks(n)}." for n in counts if n > 1)])
    return f"{text} Where there is one seed: 95% Wilson, over rows." if 1 in counts else text
