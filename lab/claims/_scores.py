"""What the claims about length share: the score of a probe, and curves of accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import TYPE_CHECKING, Any

from lab.results.result import Result, Score

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHADES = ("0.05", "0.35", "0.55", "0.7", "0.8")
MARKS = "osD^v"


def score(result: Result, label: str, length: int) -> Score:
    """The final score of a run on one probe. ValueError when it has no such probe."""
    for one in result.scores:
        if (one.probe, one.length) == (label, length):
            return one
    raise ValueError(f"{result.run} has no probe {label!r} of length {length}")


def trained(result: Result) -> int:
    """The largest length that a run was trained on."""
    return int(max(result.experiment["train"]["lengths"]))


def curves(ax: Axes, record: Mapping[str, Any], names: Mapping[str, str], label: str) -> None:
    """Draw free-running accuracy against length on the probes of one label: for each arm the median
    over seeds and a mark for each seed. names: of the arms in the record, and of their lines in the
    legend."""
    for number, (arm, shown) in enumerate(names.items()):
        style: dict[str, Any] = {"color": SHADES[number % 5], "marker": MARKS[number % 5]}
        points: dict[int, list[float]] = {}
        for run in record["arms"][arm]:
            for one in run["scores"]:
                if one["probe"] == label:
                    points.setdefault(one["length"], []).append(one["answer"])
        for length, values in points.items():
            ax.plot([length] * len(values), values, linestyle="", markersize=3, alpha=0.6, **style)
        medians = [median(values) for values in points.values()]
        ax.plot(list(points), medians, label=shown, markersize=4, **style)
    ax.set(xlabel="length", ylabel="accuracy of the answer", ylim=(-0.03, 1.03))
    ax.legend(fontsize=7)
