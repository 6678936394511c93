"""Rows of a run's probe in which every drawn token counts, where the probe scores one of them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lab.results.result import Result

if TYPE_CHECKING:
    from lab.analysis.subject import Subject


def whole_rows(result: Result, rows: int, at: str | None) -> Subject:
    """The model of a finished run at a checkpoint (None: the last), and rows like those of its
    first probe, of the length and split of it, the same for every checkpoint of the run."""
    import numpy as np

    from lab.analysis.subject import open_run

    subject = open_run(result.run, rows=1, at=at)
    rng = np.random.default_rng(result.experiment["train"]["seed"])
    task = subject.probe.of(subject.task)
    return replace(subject, batch=task.sample(rng, rows, subject.probe.length))
