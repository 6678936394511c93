"""Chunks: several runs as one job of a cluster."""

from __future__ import annotations

import signal
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.errors import RunStopped
from lab.runs import worker_process
from lab.runs.chunk import chunks, execute_chunk, numbered
from lab.runs.engines import JobResult
from tests.stuck import ANSWER, DIE, HANG, command

# It dies of the second job, and answers the others.
SECOND_DIES = f"exec({DIE!r} if 'second' in line else {ANSWER!r})"


def jobs(*names: str) -> list[dict[str, Any]]:
    return [{"device": "cpu", "out": "runs", "name": name} for name in names]


@given(st.integers(0, 100), st.integers(1, 30))
def test_every_job_is_in_one_chunk_in_order(total: int, size: int) -> None:
    parts = chunks(total, size)
    assert [number for part in parts for number in part] == list(range(total))
    assert all(len(part) == size for part in parts[:-1])


def test_a_run_that_crashes_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_process, "COMMAND", command(SECOND_DIES))
    ended = execute_chunk(jobs("first", "second", "third"), 1, 10)
    crash = "a run ended with code 9: two"
    expected = [(0, None, ""), (1, f"{crash} (2 tries)", crash), (2, None, "")]
    assert ended == expected
    assert [result.number for result in numbered(range(7, 10), ended)] == [7, 8, 9]
    assert numbered([4], [JobResult(0, "a", "b")]) == [(4, "a", "b")]


def test_a_node_that_is_wanted_stops_its_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_process, "COMMAND", command(HANG))
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    handler = signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGTERM))
    start = time.monotonic()
    try:
        with pytest.raises(RunStopped):
            execute_chunk(jobs("one"), 1, 10)
    finally:
        signal.signal(signal.SIGALRM, handler)
    assert time.monotonic() - start < 30
