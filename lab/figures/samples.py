"""Figure: training rows until the first probe is learned, for each group of runs."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from lab.figures.series import evaluations
from lab.figures.style import COLUMN, legend, sample_of, seeds, thousands, title
from lab.results.groups import Group
from lab.results.result import Result
from lab.results.summary import samples_to
from lab.stats import median
from tasks import refuse

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure


def samples(grouped: list[Group], metric: str | None) -> Figure:
    """Training rows until the first probe was learned: a bar for each group, the median
    over seeds, and a mark for each seed. A run that did not learn is censored at its budget: its
    mark is an arrow, and a median that is only a lower bound is a hatched bar."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    if metric:
        raise refuse("metric", metric, "samples to learn are always counted by exact match")
    learned_at = [[first_learned(result) for result in group.results] for group in grouped]
    names = [textwrap.fill(group.label or title(grouped), 24) for group in grouped]
    lines = sum(name.count("\n") + 1 for name in names)
    figure = Figure(
        figsize=(COLUMN, 0.75 + 0.12 * len(grouped) + 0.14 * lines), layout="constrained"
    )
    axes = figure.add_subplot()
    plain: dict[str, Any] = {"facecolor": "0.75", "edgecolor": "0.35", "linewidth": 0.6}
    hatched = plain | {"facecolor": "white", "hatch": "/////"}
    dot: dict[str, Any] = {"color": "black", "linestyle": "", "markersize": 3}
    arrow = dot | {"marker": ">", "markersize": 4.5, "markerfacecolor": "white"}
    dot |= {"marker": "o"}
    for y, of_group in enumerate(learned_at):
        rows, cut = [one["rows"] for one in of_group], [one["censored"] for one in of_group]
        middle, bound = median(rows, cut)
        axes.barh(y, middle, height=0.66, **(hatched if bound else plain))
        for number, (x, gone) in enumerate(zip(rows, cut, strict=True)):
            offset = 0.5 * ((number + 0.5) / len(rows) - 0.5)
            if gone or len(rows) > 1:  # a lone seed is its bar
                axes.plot(x, y - offset, clip_on=False, **(arrow if gone else dot))
    every = [one for of_group in learned_at for one in of_group]
    several = len(every) > len(grouped)
    if max(one["rows"] for one in every) > 30 * min(one["rows"] for one in every):
        axes.set_xscale("log")
    axes.set_yticks(range(len(grouped)), names)
    axes.invert_yaxis()
    axes.xaxis.set_major_formatter(thousands)
    axes.set_xlabel(f"training rows until {_goal(every)}")
    axes.set_title(title(grouped), loc="left")
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
    legend(figure, handles, f"Found at evaluations during training; {seeds(grouped)}.")
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
        message = f"{result.run} was evaluated only at its end; run it with --eval-every"
        raise refuse("kind", "samples", message)
    threshold = result.experiment["train"].get("threshold", 1.0)
    return (result.learned or samples_to(evaluations(result), threshold))[0]
