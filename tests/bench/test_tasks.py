"""`lab bench tasks`: its rows count what the generators make; times are not asserted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tasks
from lab.bench import best_seconds
from lab.bench import tasks as bench
from tasks import Role


def test_every_task_and_setting_has_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []

    def once(work: Callable[[], Any]) -> float:
        drawn.append(work())
        return 0.5

    monkeypatch.setattr(bench, "best_seconds", once)
    rows = list(bench.measure(rows=6))
    assert {row["task"] for row in rows} == set(tasks.names())
    assert len(rows) == sum(len(bench.SETTINGS.get(name, [()])) for name in tasks.names())
    for row, timed in zip(rows, drawn, strict=True):
        task = tasks.load(row["task"])(**row["changed"])
        again = task.sample(np.random.default_rng(0), 6, row["length"])
        tokens = sum(role != Role.PAD for of_row in again.roles for role in of_row)
        assert row["tokens_per_row"] == tokens / 6 and len(timed) == row["batch"] == 6
        assert (row["rows_per_second"], row["tokens_per_second"]) == (12, 2 * tokens)
        assert row["bytes_per_row"] == (again.tokens.nbytes + again.roles.nbytes) / 6
        assert row["changed"].items() <= row["options"].items()


@pytest.mark.parametrize(("repeats", "warm", "calls"), [(3, True, 4), (3, False, 3), (1, False, 1)])
def test_how_often_work_is_called(repeats: int, warm: bool, calls: int) -> None:
    done: list[None] = []
    assert best_seconds(lambda: done.append(None), repeats, 0, warm) >= 0
    assert len(done) == calls
