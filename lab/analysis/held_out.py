"""Rows like those of training that a finished run has not seen, all of them counted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from lab.analysis.interventions import exact_and_loss
from lab.analysis.subject import Subject, open_run
from lab.config import NOTHING, Trusted
from lab.data.batches import visible

ROWS = 512


def whole_rows(
    run: str | Path,
    rows: int = ROWS,
    at: str | None = None,
    label: str | None = None,
    trusted: Trusted = NOTHING,
) -> Subject:
    """The model of a run, and rows of a probe in which every token counts that would be supervised
    in training; a score may be of some of them alone (`tasks.Task.scored_part`).

    run, label, at, trusted, errors: as in `open_run`. The rows depend on the seed of the run and on
    the probe, and are the same at every checkpoint.
    """
    subject = open_run(run, label, rows=1, at=at, trusted=trusted)
    rng = np.random.default_rng(subject.experiment.train.seed)
    drawn = subject.task.sample(rng, rows, subject.probe.length)
    return replace(subject, batch=visible(subject.experiment, drawn))


def held_out_loss(
    run: str | Path, label: str | None = None, rows: int = ROWS, trusted: Trusted = NOTHING
) -> float:
    """Mean cross-entropy, in nats, over all supervised tokens of `whole_rows`."""
    return exact_and_loss(whole_rows(run, rows, label=label, trusted=trusted))[1]
