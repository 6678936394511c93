"""Small experiments for tests."""

from __future__ import annotations

import dataclasses

from lab.config import Experiment
from lab.experiments.parity import experiment


def with_train(**changes: object) -> Experiment:
    base = experiment(k=2, length=6)
    return dataclasses.replace(base, train=dataclasses.replace(base.train, **changes))  # type: ignore[arg-type]
