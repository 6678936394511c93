"""What follows from scores: samples to learn, and a summary over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lab.results.result import Result


def samples_to(evaluations: Sequence[Mapping[str, Any]], threshold: float) -> list[dict[str, Any]]:
    """For each probe, the training rows seen when it was first found learned (sample efficiency).

    evaluations: rows of `Result.curves` in the order of training, the final one at the end;
    branches do not count, as they are other models than the run's. Learned: exact >= threshold. A
    probe that never is has the rows of the last evaluation, and censored is true: it needs more.
    """
    own = [row for row in evaluations if "branch" not in row]
    found = []
    for number, probe in enumerate(own[-1]["scores"]):
        seen = [row["rows"] for row in own if row["scores"][number]["exact"] >= threshold]
        found.append(
            {
                "probe": probe["probe"],
                "length": probe["length"],
                "threshold": threshold,
                "rows": seen[0] if seen else own[-1]["rows"],
                "censored": not seen,
            }
        )
    return found


def summary(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Over the seeds of one experiment, a row per probe: mean, every value, a 95% BCa interval of
    the mean (seeds as units), and how many seeds solve it: exact reaches train.threshold."""
    from lab.stats import over_seeds

    threshold = results[0].experiment["train"].get("threshold", 1.0)  # runs of before have none
    rows = []
    for scores in zip(*(result.scores for result in results), strict=True):
        row: dict[str, Any] = {"probe": scores[0].probe, "length": scores[0].length}
        for name in ("exact", "answer"):
            values = [getattr(score, name) for score in scores]
            row[name] = sum(values) / len(values)
            row[f"{name}_interval"] = over_seeds(values)
            row[f"{name}_values"] = values
        row["solved"] = sum(score.exact >= threshold for score in scores)
        row["seeds"] = len(scores)
        rows.append(row)
    return rows


def evaluations(result: Result) -> list[dict[str, Any]]:
    """Those on the way, without the branches of a schedule."""
    return [row for row in result.curves if "branch" not in row]
