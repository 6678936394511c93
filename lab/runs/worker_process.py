"""A worker process (lab.runs.worker) as the sweep that started it sees it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

from lab.runs.engines import Job

PATIENCE = 60  # seconds that a run waits for a lock: a killed sweep may have left it saving
STARTUP = 60  # seconds without a sign of life that a new worker may take at least
COMMAND = [sys.executable, "-m", "lab.runs.worker"]
SAVING = 5  # seconds from SIGTERM to SIGKILL for a worker that hangs


class Outcome(NamedTuple):
    """How a job ended. error: None when the run is complete. crashed: another attempt may help."""

    error: str | None
    crashed: bool


class Worker:
    """A process that executes one job after another. device: as CUDA_VISIBLE_DEVICES names it."""

    def __init__(self, device: str | None) -> None:
        self.device = device
        self.number: int | None = None  # of the job in hand
        self.retired = False  # it takes no more jobs
        self._stderr = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by `close`
        threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env={**os.environ, **threads, **({"CUDA_VISIBLE_DEVICES": device} if device else {})},
            bufsize=0,
            start_new_session=True,  # Ctrl-C reaches this process alone, which passes it on once
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        os.set_blocking(self._stdout.fileno(), False)
        self._read = b""
        self._alive_at = time.monotonic() + STARTUP  # no sign of life counts before
        self._kill_at: float | None = None
        self.open = True  # until the process has closed the pipe that it answers on

    def fileno(self) -> int:
        """Of the pipe that the worker answers on, for `select`."""
        return self._stdout.fileno()

    def ended(self) -> bool:
        """Whether it has no job and its process has ended."""
        return self.number is None and self._process.poll() is not None

    def retire(self) -> None:
        """Let an idle worker end."""
        self.retired = True
        self._stdin.close()

    def give(self, number: int, job: Job) -> None:
        """Give an idle worker a job."""
        self.number = number
        self._alive_at = max(self._alive_at, time.monotonic())
        self._stderr.seek(0)  # the process writes at the same offset
        self._stderr.truncate()
        with contextlib.suppress(
            BrokenPipeError
        ):  # it has ended meanwhile, which `outcome` reports
            self._stdin.write(json.dumps({"wait": PATIENCE, **job}).encode() + b"\n")

    def outcome(self, stall: float) -> Outcome | None:
        """How the job in hand ended; None while it goes on. A worker without a sign of life for
        `stall` seconds is ended."""
        code = self._process.poll()  # before reading: an answer may come first
        answer = self._answer()
        if answer is not None:
            self.number, self.retired = None, answer["last"]
            return Outcome(answer["error"], False)
        now = time.monotonic()
        if code is not None:
            self.number, self.retired = None, True
            return Outcome(self._crash(code, stall), True)
        if self._kill_at is None and now - self._alive_at > stall:
            self._kill_at = now + SAVING
            self._process.terminate()
        elif self._kill_at is not None and now > self._kill_at:
            self._process.kill()
        return None

    def _answer(self) -> dict[str, Any] | None:
        """The answer, once it is there. Any byte is a sign of life."""
        while self.open:
            try:
                data = os.read(self.fileno(), 1 << 16)
            except BlockingIOError:
                break
            self.open = bool(data)
            self._read += data
            self._alive_at = max(self._alive_at, time.monotonic())
        *lines, self._read = self._read.split(b"\n")
        answers: list[dict[str, Any]] = [json.loads(line) for line in lines if line]
        return answers[0] if answers else None

    def _crash(self, code: int, stall: float) -> str:
        if self._kill_at is not None:
            return f"a run made no step and evaluated no batch for {stall / 60:g} minutes"
        self._stderr.seek(0)
        line = self._stderr.read().strip().rpartition("\n")[2]
        crash = f"a run ended with code {code}"
        return f"{crash}: {line}" if line else crash


def close(workers: Iterable[Worker], seconds: float) -> None:
    """End workers, with their runs saved where that takes at most so many seconds."""
    workers = list(workers)
    for worker in workers:
        if worker.number is not None:
            worker._process.terminate()  # alone: the end of stdin would be a second signal
        else:
            worker.retire()
    end = time.monotonic() + seconds
    for worker in workers:
        try:
            worker._process.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            worker._process.kill()
            worker._process.wait()
        worker._stdin.close()
        worker._stdout.close()
        worker._stderr.close()
