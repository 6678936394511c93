"""What claims share: the score of a probe, and curves of accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lab.figures.ends import median_line, trained_range
from lab.results.result import Result, Score

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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
    """Draw free-running accuracy against length on the probes of one label: a line for each arm,
    the lengths of training shaded. names: of the arms in the record, and of their lines."""
    for number, (arm, shown) in enumerate(names.items()):
        points: dict[float, list[float]] = {}
        for run in record["arms"][arm]:
            for one in run["scores"]:
                if one["probe"] == label:
                    points.setdefault(one["length"], []).append(one["answer"])
        median_line(ax, points, shown, number)
    lengths = record["experiments"][next(iter(names))]["train"]["lengths"]
    trained_range(ax, min(lengths), max(lengths))
    ax.set(xlabel="length", ylim=(-0.03, 1.03))


def over_pairs(ax: Axes, record: Mapping[str, Any], names: Mapping[str, str]) -> None:
    """Draw `accuracy_by_pairs` of a record's series against the pairs of a row: a line for each of
    `names`, under which it is in the series, and what the line is called."""
    for number, (name, shown) in enumerate(names.items()):
        points: dict[float, list[float]] = {}
        for seed in record["series"]:
            for pairs, value in seed["accuracy_by_pairs"][name][::-1]:
                points.setdefault(pairs, []).append(value)
        median_line(ax, points, shown, number)
    ax.set_xscale("log", base=2)
    ax.set_xticks(list(points), [str(pairs) for pairs in points])
    ax.set_ylim(-0.03, 1.03)


def learning(record: Mapping[str, Any], arm: str, label: str) -> dict[float, list[float]]:
    """Exact match of the runs of an arm on one probe while they were trained: training rows to the
    value of each seed. A run that stopped early keeps its last value."""
    train = record["experiments"][arm]["train"]
    runs: list[dict[int, float]] = []
    for run in record["arms"][arm]:
        number = [one["probe"] for one in run["scores"]].index(label)
        on_the_way = {rows: exact[number] for rows, exact in run["curve"]}
        end = {train["steps"] * train["batch"]: run["scores"][number]["exact"]}
        runs.append(on_the_way | end)
    return {
        x: [run[max((seen for seen in run if seen <= x), default=min(run))] for run in runs]
        for x in sorted({x for run in runs for x in run})
    }
