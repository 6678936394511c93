"""Figure: what a run by reinforcement tells of its steps, against the prompts that it has seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lab.figures.series import Series, decoded, logged, since_parent
from lab.figures.style import METRICS, WIDE, legend, line_style, sample_of, seeds, thousands, title
from lab.results.groups import Group
from lab.results.steps import largest_pass
from tasks import refuse

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Names in the log, and the titles of the small panels that show them.
PANELS = {
    "reward": "reward",
    "idle": "share of prompts that teach nothing",
    "entropy": "entropy, nats a token",
    "written": "tokens of a completion",
}


def reinforcement(grouped: list[Group], metric: str | None) -> Figure:
    """On the left Pass@1 and Pass@k of the completions of every step, and the accuracy on the first
    probe, from that of the parent on; on the right reward, share of prompts that teach nothing,
    entropy and length. A line for each group, the median over seeds with its band. Pass@k is of the
    training prompts before the update; k is the number of completions of a prompt, or the power of
    2 below it."""
    from matplotlib.figure import Figure

    if metric:
        raise refuse("metric", metric, "this figure always shows reward and Pass@k")
    most = [_largest(group) for group in grouped]
    metric = "answer" if decoded(grouped) else "exact"
    figure = Figure(figsize=(WIDE, 2.5), layout="constrained")
    panels = figure.subplot_mosaic(
        [["main", "reward", "idle"], ["main", "entropy", "written"]], width_ratios=[1.5, 1, 1]
    )
    probes, parents = dict[str, None](), False
    for i, (group, name) in enumerate(zip(grouped, most, strict=True)):
        held = since_parent(group, metric)
        probes[held.label], parents = None, parents or held.x[0] == 0
        for j, series in enumerate((logged(group, "pass@1"), logged(group, name), held)):
            _draw(panels["main"], series, _style(i, j, len(grouped)), group)
        for name in PANELS:
            _draw(panels[name], logged(group, name), _style(i, 0, len(grouped)), group)
    for name, text in PANELS.items():
        panels[name].set_title(text, loc="left", fontsize=7)
        panels[name].set_ylim(0, max(1.05 * panels[name].get_ylim()[1], 1e-3))
    panels["main"].set_ylim(0, 1.03)
    panels["main"].set_title(title(grouped), loc="left")
    for name, axes in panels.items():
        axes.xaxis.set_major_formatter(thousands)
        if name not in ("reward", "idle"):
            axes.set_xlabel("training prompts seen")
    many = " or ".join(dict.fromkeys(f"Pass@{name.partition('@')[2]}" for name in most))
    held_out = f"{METRICS[metric]}, greedy, {' or '.join(probes)}"
    handles = []
    if len(grouped) > 1:
        handles += [sample_of(g.label, **_style(i, 0, len(grouped))) for i, g in enumerate(grouped)]
    for j, name in enumerate(("Pass@1 of samples", f"{many} of samples", held_out)):
        look = _style(0, j, len(grouped)) | ({"color": "0.3"} if len(grouped) > 1 else {})
        handles.append(sample_of(name, **look))
    caption = (
        f"Samples of training, {seeds(grouped)}. Pass@k: share of prompts that one of k samples"
        f" answers right.{' At 0 prompts: the parent.' if parents else ''}"
    )
    legend(figure, handles, caption)
    return figure


def _largest(group: Group) -> str:
    """The largest Pass@k in the log of a group. ValueError where its runs do not sample."""
    most = largest_pass(group.results[0])
    if most is None:
        message = f"{group.results[0].run} trained on the rows of its task"
        raise refuse("kind", "reinforcement", message)
    return most


def _style(number: int, line: int, groups: int) -> dict[str, Any]:
    """Of line `line` of group `number`: one group has a colour for each line, several have one for
    each group and line styles for lines."""
    style = line_style(line) if groups == 1 else line_style(number, line)
    style |= {"linewidth": 1.0, "markersize": 2.5, "markevery": (3 * number, 12)}
    return style | ({"marker": ""} if groups == 1 and line < 2 else {})


def _draw(axes: Axes, series: Series, style: dict[str, Any], group: Group) -> None:
    held = len(series.x) < 40  # few evaluations: a mark for each
    look = style | ({"markevery": 1} if held else {})
    axes.plot(
        series.x, np.median(series.values, 1), label=f"{series.label} of {group.label}", **look
    )
    if np.isfinite(series.low).any():
        axes.fill_between(
            series.x, series.low, series.high, color=style["color"], alpha=0.15, linewidth=0
        )
