"""The learning rate of every step, against lists worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest

from lab.config import TrainConfig
from lab.training.schedules import learning_rate


def test_schedules() -> None:
    def rates(schedule: str, **options: float) -> list[float]:
        config = TrainConfig(steps=10, lr=1.0, schedule=schedule, **options)  # type: ignore[arg-type]
        return [learning_rate(config, step) for step in range(10)]

    assert rates("constant") == [1.0] * 10
    assert rates("linear") == pytest.approx([1 - s / 10 for s in range(10)])
    assert rates("linear", warmup=4) == pytest.approx(
        [0.25, 0.5, 0.75, 1, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]
    )
    cosine = [(1 + math.cos(math.pi * s / 10)) / 2 for s in range(10)]
    assert rates("cosine") == pytest.approx(cosine)


def test_schedules_that_stay_and_decay() -> None:
    def rates(budget: int | None = None, **options: Any) -> list[float]:
        config = TrainConfig(**{"steps": 10, "lr": 1.0, "decay": 0.4, **options})
        return [learning_rate(config, step, budget) for step in range(budget or 10)]

    assert rates(schedule="wsd") == pytest.approx([1] * 6 + [1, 3 / 4, 2 / 4, 1 / 4])
    assert rates(schedule="wsd", warmup=2) == pytest.approx(
        [1 / 2] + [1] * 6 + [3 / 4, 2 / 4, 1 / 4]
    )
    whole = rates(schedule="wsd", decay=1.0)
    assert whole == rates(schedule="linear", decay=0.1)
    branches = {"schedule": "wsd", "budgets": (5,)}
    assert rates(**branches) == rates(schedule="wsd")
    assert rates(5, **branches) == pytest.approx([1, 1, 1, 1, 1 / 2])
    assert rates(1, **{**branches, "budgets": (1,)}) == [1]  # no step is left to come down in
    again = rates(schedule="wsd_s", budgets=(2, 5))
    assert again == pytest.approx([1, 1, 1, 1, 1 / 2, 1, 1, 3 / 4, 2 / 4, 1 / 4])
