"""The numbers of figures, as arrays: accuracy against length, accuracy and loss against rows seen.

Every series is of one group, with a band: the interval of the median over seeds (lab.stats), or, of
one seed, the Wilson interval over the rows of a probe.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lab.results.groups import Group
from lab.results.lineage import parent_result
from lab.results.result import Result, Score
from lab.results.steps import of_steps
from lab.stats import bands
from tasks import refuse

POINTS = 80  # of a curve of losses: more logged steps than that are averaged in bins


@dataclass(frozen=True)
class Series:
    """A line: x [P], values [P, seeds], low and high [P] of the band, NaN where it is unknown."""

    label: str
    x: np.ndarray
    values: np.ndarray
    low: np.ndarray
    high: np.ndarray


def by_length(group: Group, metric: str) -> list[Series]:
    """A series for each label of probes: the metric against length."""
    scores, values = group.results[0].scores, np.array(group.values(metric))
    ends = _ends(values, [asdict(s) for s in scores], metric)
    lines = []
    for label in labels_of(group):
        at = sorted((s.length, i) for i, s in enumerate(scores) if s.probe == label)
        rows = [i for _, i in at]
        x = np.array([x for x, _ in at])
        lines.append(Series(label, x, values[rows], ends[rows, 0], ends[rows, 1]))
    return lines


def evaluations(result: Result, branches: bool = False) -> list[dict[str, Any]]:
    """Rows seen and scores of a run's evaluations, the final one last; or those of its branches,
    which are models of their own."""
    if branches:
        return [row for row in result.curves if "branch" in row]
    rows = result.steps * result.experiment["train"]["batch"]
    final = {"rows": rows, "scores": [asdict(score) for score in result.scores]}
    return [*(row for row in result.curves if "branch" not in row), final]


def by_rows(group: Group, metric: str, branches: bool = False) -> list[Series]:
    """A series for the first probe of each label: the metric against training rows seen, at the
    evaluations that all seeds have."""
    runs = [{e["rows"]: e["scores"] for e in evaluations(r, branches)} for r in group.results]
    lines, labels = [], [score.probe for score in group.results[0].scores]
    for label in labels_of(group):
        at = labels.index(label)
        known = [{x for x, scores in run.items() if metric in scores[at]} for run in runs]
        x = sorted(set.intersection(*known))
        if x:
            values = np.array([[run[rows][at][metric] for run in runs] for rows in x])
            ends = _ends(values, [runs[0][rows][at] for rows in x], metric)
            lines.append(Series(label, np.array(x), values, ends[:, 0], ends[:, 1]))
    return lines


def decoded(grouped: Sequence[Group]) -> bool:
    """Whether the models wrote their own answers at every evaluation of these runs."""
    seen = [e for g in grouped for result in g.results for e in evaluations(result)]
    return all("answer" in score for e in seen for score in e["scores"])


def since_parent(group: Group, metric: str) -> Series:
    """The metric on the first probe against training rows seen; of runs that started from the end
    of others, at 0 rows what these score on it, where all of them are known."""
    series = by_rows(group, metric)[0]
    before = [_of_parent(result) for result in group.results]
    known = [asdict(score) for score in before if score]
    if len(known) < len(before):
        return series
    values = np.array([[score[metric] for score in known]])
    (ends,) = _ends(values, known[:1], metric)
    return Series(
        series.label,
        np.concatenate([[0], series.x]),
        np.concatenate([values, series.values]),
        np.concatenate([ends[:1], series.low]),
        np.concatenate([ends[1:], series.high]),
    )


def _of_parent(result: Result) -> Score | None:
    """What the parent of a run scores on the run's first probe, if it has that probe and task."""
    parent, data = parent_result(result), result.experiment
    if parent is None or any(parent.experiment[part] != data[part] for part in ("task", "cot")):
        return None
    pairs = zip(parent.scores, parent.experiment["probes"], strict=False)
    return next((score for score, probe in pairs if probe == data["probes"][0]), None)


def logged(group: Group, name: str) -> Series:
    """What training logged every few steps, such as loss, exact match of its batches or reward.
    Averaged in POINTS bins at most; steps that some seed did not reach are left out. ValueError
    without such a log."""
    runs = [dict(of_steps(result, name)) for result in group.results]
    shared = sorted(set.intersection(*(set(run) for run in runs)))
    if not shared:
        raise refuse("kind", "curve", f"no losses are logged in {group.results[0].run}")
    table = np.array([[run[rows] for run in runs] for rows in shared])
    bins = np.array_split(np.arange(len(shared)), min(len(shared), POINTS))
    values = np.array([table[some].mean(0) for some in bins])
    x = np.array([np.array(shared)[some].mean() for some in bins])
    ends = bands(values) if len(runs) > 1 else np.full((len(x), 2), np.nan)
    return Series(name, x, values, ends[:, 0], ends[:, 1])


def _ends(values: np.ndarray, scores: Sequence[dict[str, Any]], metric: str) -> np.ndarray:
    """Low and high [P, 2]: over seeds, or Wilson's as the scores of one seed have them."""
    if values.shape[1] > 1:
        return bands(values)
    low, high = ("low", "high") if metric == "exact" else ("answer_low", "answer_high")
    return np.array([[score[low], score[high]] for score in scores])


def labels_of(group: Group, first: bool = False) -> list[str]:
    """The labels of a group's probes in order; or only the first."""
    labels = list(dict.fromkeys(score.probe for score in group.results[0].scores))
    return labels[:1] if first else labels
