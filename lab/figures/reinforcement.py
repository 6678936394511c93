"""Figure: what a run by reinforcement tells of its steps, against the prompts that it has seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lab.figures.series import logged
from lab.figures.style import COLUMN, legend, line_style, sample_of, seeds, thousands, title
from lab.results.groups import Group
from lab.results.steps import largest_pass
from tasks import refuse

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Label of a panel, and the names in the log that it shows.
PANELS = {
    "reward": ("reward",),
    "Pass@k": ("pass@1",),
    "idle": ("idle",),
    "entropy": ("entropy",),
    "tokens": ("written",),
}


def reinforcement(grouped: list[Group], metric: str | None) -> Figure:
    """Reward, Pass@1 and Pass@k of the completions of every step, the share of prompts that teach
    nothing, entropy and length: a line for each group, the median over seeds with its band. Pass@k
    is of the training prompts before the update; k is the number of completions of a prompt, or the
    power of 2 below it, and its line is dashed."""
    from matplotlib.figure import Figure

    if metric:
        raise refuse("metric", metric, "this figure always shows reward and Pass@k")
    figure = Figure(figsize=(COLUMN, 4.6), layout="constrained")
    panels = figure.subplots(len(PANELS), sharex=True, height_ratios=[3, 3, 2, 2, 2])
    largest: dict[str, None] = {}
    for i, group in enumerate(grouped):
        most = largest_pass(group.results[0])
        if most is None:
            message = f"{group.results[0].run} trained on the rows of its task"
            raise refuse("kind", "reinforcement", message)
        largest[most] = None
        marked = (
            {"markevery": (3 * i, 12), "markersize": 2.5} if len(grouped) > 1 else {"marker": ""}
        )
        style = line_style(i) | {"linewidth": 1.0} | marked
        for axes, names in zip(panels, PANELS.values(), strict=True):
            lines = {"-": names[0]} | ({"--": most} if names == ("pass@1",) else {})
            for line, name in lines.items():
                series = logged(group, name)
                middle = np.median(series.values, 1)
                own = style | {"linestyle": line, "label": f"{name} of {group.label}"}
                axes.plot(series.x, middle, **own)
                if np.isfinite(series.low).any():
                    axes.fill_between(
                        series.x, series.low, series.high, color=style["color"], alpha=0.15, lw=0
                    )
    for axes, label in zip(panels, PANELS, strict=True):
        axes.set(ylabel=label)
        if label in ("Pass@k", "idle"):
            axes.set_ylim(-0.03, 1.03)
    figure.align_ylabels(panels)
    panels[-1].set(xlabel="training prompts seen")
    panels[-1].xaxis.set_major_formatter(thousands)
    panels[0].set_title(title(grouped), loc="left")
    handles = []
    if len(grouped) > 1:
        plain = {"linestyle": "-", "markersize": 2.5}
        handles += [sample_of(g.label, **line_style(i) | plain) for i, g in enumerate(grouped)]
    grey = {"color": "0.3", "linewidth": 1.0}
    handles.append(sample_of("Pass@1", linestyle="-", **grey))
    many = " or ".join(f"Pass@{name.partition('@')[2]}" for name in largest)
    handles.append(sample_of(many, linestyle="--", **grey))
    caption = (
        f"Completions sampled in training, {seeds(grouped)}. idle: share of prompts that teach"
        " nothing; entropy of a token, nats; tokens of a completion."
    )
    legend(figure, handles, caption)
    return figure
