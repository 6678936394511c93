"""A worker process as a sweep sees it: answers, crashes, hanging, and its end in time."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from lab.runs.engines import _worker
from lab.runs.engines._worker import Outcome, Worker, close

# What a process that stands for a worker does with a job.
ANSWER = 'print(\'{"error": null, "last": false}\', flush=True)'
DIE = "import os, sys; print('one\\ntwo', file=sys.stderr, flush=True); os._exit(9)"
HANG = "import time; time.sleep(1000)"
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); {HANG}"
STOP = "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)"
BEAT = "[print(flush=True) or time.sleep(0.1) for i in range('slow' in line and 15)]"
SLOW = f"import time; {BEAT}; {ANSWER}"


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Worker]]:
    """A worker that gets the job to execute some code for every line of its stdin."""
    made = []

    def make(code: str) -> Worker:
        loop = f"import sys\nfor line in sys.stdin: exec({code!r})"
        monkeypatch.setattr(_worker, "COMMAND", [sys.executable, "-c", loop])
        monkeypatch.setattr(_worker, "STARTUP", 0.5)
        monkeypatch.setattr(_worker, "SAVING", 0.3)
        made.append(Worker(None))
        return made[-1]

    yield make
    close(made, 0)


def outcome(worker: Worker, stall: float) -> Outcome:
    end = time.monotonic() + 60
    while (ended := worker.look(stall)) is None:
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


@pytest.mark.parametrize("code", [HANG, DEAF, STOP, ANSWER])
def test_whatever_workers_do_they_are_ended_in_time(
    code: str, worker: Callable[[str], Worker]
) -> None:
    one = worker(code)
    one.give(0, {})
    time.sleep(0.3)
    start = time.monotonic()
    close([one], 0.5)
    assert time.monotonic() - start < 2
    assert one._process.returncode in (-signal.SIGTERM, -signal.SIGKILL)
