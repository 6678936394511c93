"""Computed from scores: training rows until a probe is learned, and a summary over seeds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from lab.results.result import Result, Score


def samples_to(evaluations: Sequence[Mapping[str, Any]], threshold: float) -> list[dict[str, Any]]:
    """Sample efficiency: for each probe, the training rows at the first evaluation that is learned.

    evaluations: rows of `Result.curves` in the order of training, the final one last; branches do
    not count, because they are other models than the run's. Learned: exact >= threshold. A probe
    that is never learned has the rows of the last evaluation, and censored is true: it needs more.
    """
    own = [row for row in evaluations if "branch" not in row]
    learned = []
    for number, probe in enumerate(own[-1]["scores"]):
        seen = [row["rows"] for row in own if row["scores"][number]["exact"] >= threshold]
        learned.append(
            {
                "probe": probe["probe"],
                "length": probe["length"],
                "threshold": threshold,
                "rows": seen[0] if seen else own[-1]["rows"],
                "censored": not seen,
            }
        )
    return learned


def summary(results: Sequence[Result]) -> list[dict[str, Any]]:
    """One row per probe over the seeds of one experiment: the median, the value of each seed, the
    interval of the median and the coverage that it has (None for one seed), and solved: seeds whose
    exact reaches train.threshold."""
    from lab.stats import over_seeds

    threshold = results[0].experiment["train"]["threshold"]
    rows = []
    for scores in zip(*(result.scores for result in results), strict=True):
        row: dict[str, Any] = {"probe": scores[0].probe, "length": scores[0].length}
        for name in ("exact", "answer"):
            values = [getattr(score, name) for score in scores]
            over = over_seeds(values)
            row[name] = over.median if over else values[0]
            row[f"{name}_interval"] = over.interval if over else None
            row[f"{name}_values"] = values
        row["coverage"] = over.ranks.coverage if over else None
        row["solved"] = sum(score.exact >= threshold for score in scores)
        row["seeds"] = len(scores)
        rows.append(row)
    return rows


def evaluations(result: Result) -> list[dict[str, Any]]:
    """The evaluations during training of the run itself, without branches of a schedule."""
    return [row for row in result.curves if "branch" not in row]


def late_gain(result: Result) -> float | None:
    """How much the exact match of the first probe rose over the last quarter of the steps; None
    where nothing was evaluated before."""
    late = [row for row in evaluations(result) if row["step"] <= 0.75 * result.steps]
    if not late:
        return None
    return float(result.scores[0].exact - late[-1]["scores"][0]["exact"])


def rows_of_table(result: Result) -> Result:
    """The result with the scores that a table shows: those of a label together, shortest length
    first, then those of every branch of a wsd run, whose label names its steps."""
    names = {field.name for field in dataclasses.fields(Score)}
    shown = _by_length(result.scores)
    for row in result.curves:
        if "branch" in row and all(set(score) == names for score in row["scores"]):
            scores = _by_length([Score(**score) for score in row["scores"]])
            label = f"branch {row['branch']}"
            shown += [dataclasses.replace(s, probe=f"{s.probe} ({label})") for s in scores]
    return dataclasses.replace(result, scores=tuple(shown))


def _by_length(scores: Sequence[Score]) -> list[Score]:
    labels = list(dict.fromkeys(score.probe for score in scores))
    return sorted(scores, key=lambda score: (labels.index(score.probe), score.length))
