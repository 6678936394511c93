"""Scores of a model on a probe: teacher-forced, free-running, and the first wrong thought token.

exact    fraction of rows where every supervised token has the highest logit, with all earlier
         tokens given from the reference (the accuracy of 2410.05459 and 2502.08991)
answer   fraction of rows with the right answer when the model writes every supervised token itself
valid    fraction of rows where the thought that the model writes equals the oracle's

The decoder is given the prompt, the tool's tokens and, for tasks without stop tokens, the roles of
the row. With stop tokens a row ends where the model writes one, and the answer is what stands
between the delimiter of the thought (the prompt, where no thought is written) and that end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from lab.config import Experiment, Probe
from lab.data.batches import visible
from lab.data.rows import Rows, stream
from lab.evaluation.forced import teacher_force
from lab.evaluation.mode import evaluating
from lab.evaluation.written import free_running
from lab.nn.model import Model
from lab.results.result import Score
from lab.stats import wilson
from tasks import Batch, Role, Task

ROWS_AT_ONCE = 512


@dataclass(frozen=True)
class RowScores:
    """Scores of n rows. exact, answer, valid: bool [n]. first_error: index of the first wrong token
    of the thought, int [n], -1 for none."""

    exact: np.ndarray
    answer: np.ndarray
    valid: np.ndarray
    first_error: np.ndarray


def questions(experiment: Experiment, probe: Probe) -> Iterator[Batch]:
    """The n rows of a probe as they are scored, at most ROWS_AT_ONCE at a time."""
    task = probe.of(experiment.task)
    seed = stream(experiment.train.seed, "probe", probe.label, probe.length)
    rows = Rows(task, probe.length, int(seed.generate_state(1)[0]), "probe")
    for start in range(0, probe.n, ROWS_AT_ONCE):
        yield task.scored_part(
            visible(experiment, rows[start : min(start + ROWS_AT_ONCE, probe.n)])
        )


def score(
    model: Model,
    experiment: Experiment,
    probe: Probe,
    heartbeat: Callable[[], None] = lambda: None,
) -> Score:
    """The score of one probe. Its rows have their own random stream, so adding a probe changes no
    other score. heartbeat: called after every batch."""
    task = probe.of(experiment.task)
    parts = []
    for batch in questions(experiment, probe):
        parts.append(score_batch(model, task, batch, experiment.train.precision))
        heartbeat()
    exact, answer, valid, first = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("exact", "answer", "valid", "first_error")
    )
    low, high = wilson(exact.sum(), probe.n)
    answer_low, answer_high = wilson(answer.sum(), probe.n)
    thought = bool(experiment.cot and (batch.roles == Role.THOUGHT).any())
    return Score(
        probe=probe.label,
        length=probe.length,
        n=probe.n,
        exact=float(exact.mean()),
        low=low,
        high=high,
        answer=float(answer.mean()),
        answer_low=answer_low,
        answer_high=answer_high,
        chance=task.chance(probe.length),
        valid_thought=float(valid.mean()) if thought else None,
        first_error=float(np.median(first[first >= 0])) if (first >= 0).any() else None,
    )


def score_teacher_forced(
    model: Model,
    experiment: Experiment,
    probe: Probe,
    heartbeat: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """The part of a Score that needs no decoding: probe, length, n, exact, low, high. heartbeat:
    called after every batch."""
    task, right = probe.of(experiment.task), 0
    for batch in questions(experiment, probe):
        right += int(teacher_force(model, task, batch, experiment.train.precision).exact.sum())
        heartbeat()
    low, high = wilson(right, probe.n)
    return {
        "probe": probe.label,
        "length": probe.length,
        "n": probe.n,
        "exact": right / probe.n,
        "low": low,
        "high": high,
    }


def score_batch(model: Model, task: Task, batch: Batch, kind: str = "fp32") -> RowScores:
    """Teacher-forced and free-running scores of every row of a batch. kind: of activations."""
    forced = teacher_force(model, task, batch, kind)
    with evaluating(model, kind):
        return RowScores(forced.exact, *free_running(model, task, batch, forced))
