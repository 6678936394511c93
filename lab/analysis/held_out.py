"""The loss of a finished run on rows like those of training that it has not seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from lab.analysis.interventions import exact_and_loss
from lab.analysis.subject import open_run
from lab.config import NOTHING, Trusted
from lab.data.batches import visible
from lab.data.rows import stream

ROWS = 512


def held_out_loss(
    run: str | Path, label: str | None = None, rows: int = ROWS, trusted: Trusted = NOTHING
) -> float:
    """Mean cross-entropy, in nats, over all tokens of rows of a probe that would be supervised in
    training; a score may be of some of them alone (`tasks.Task.scored_part`).

    run, label, trusted, errors: as in `open_run`; the rows depend on seed, label and length.
    """
    subject = open_run(run, label, rows=1, trusted=trusted)
    experiment, probe = subject.experiment, subject.probe
    key = stream(experiment.train.seed, "held out", probe.label, probe.length)
    drawn = subject.task.sample(np.random.default_rng(key), rows, probe.length)
    return exact_and_loss(replace(subject, batch=visible(experiment, drawn)))[1]
