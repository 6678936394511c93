"""A worker process as a sweep sees it: answers, crashes, and what hangs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from lab.runs import worker_process
from lab.runs.worker_process import Outcome, Worker, close
from tests.stuck import ANSWER, DEAF, DIE, HANG, SLOW, STOP, command


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Worker]]:
    """A worker that gets the job to execute some code for every line of its stdin."""
    made = []

    def make(code: str) -> Worker:
        monkeypatch.setattr(worker_process, "COMMAND", command(code))
        monkeypatch.setattr(worker_process, "STARTUP", 0.5)
        monkeypatch.setattr(worker_process, "SAVING", 0.3)
        made.append(Worker(None))
        return made[-1]

    yield make
    close(made, 0)


def outcome(worker: Worker, stall: float) -> Outcome:
    end = time.monotonic() + 60
    while (ended := worker.outcome(stall)) is None:
        assert time.monotonic() < end
        time.sleep(0.01)
    return ended


def test_one_worker_answers_many_jobs(worker: Callable[[str], Worker]) -> None:
    one = worker(ANSWER)
    for number in range(3):
        one.give(number, {})
        assert outcome(one, 60) == (None, False) and one.number is None and not one.ended()


def test_a_crash_is_told_by_its_last_line(worker: Callable[[str], Worker]) -> None:
    one = worker(DIE)
    one.give(7, {})
    assert outcome(one, 60) == ("a run ended with code 9: two", True)
    assert one.ended() and one.retired


@pytest.mark.parametrize("code", [HANG, DEAF, STOP])
def test_a_worker_that_hangs_is_ended(code: str, worker: Callable[[str], Worker]) -> None:
    one = worker(code)
    one.give(0, {})
    message = "a run made no step and evaluated no batch for 0.01 minutes"
    assert outcome(one, 0.6) == (message, True) and one.ended()


def test_a_slow_worker_that_gives_signs_of_life_is_left_alone(
    worker: Callable[[str], Worker],
) -> None:
    one = worker(SLOW)
    one.give(0, {})
    assert outcome(one, 60) == (None, False), "it has started"
    one.give(1, {"slow": True})
    assert outcome(one, 1) == (None, False)
