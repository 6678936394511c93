"""The worker process of a sweep: `python -m lab.runs.worker` executes many runs, one at a time.

A job is a line of JSON on stdin. Each is answered by a line of JSON on stdout: the error (null when
the run is complete), and whether the worker ends now. An empty line is a heartbeat: the run has
made a step or has evaluated a batch. A worker ends after RUNS runs, when its memory has grown by
GROWTH, and after a run that may have changed the process for the next one. When stdin ends, by
the end of the process at its other end too, the run saves and the worker ends.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from lab.config.experiment import from_json
from lab.config.trust import Trusted, mixer_files
from lab.errors import RunFailed, RunStopped, in_own_code
from lab.runs.process import process_state, resident_bytes
from lab.runs.run import run
from tasks import load_file

RUNS = 500
GROWTH = 1 << 30  # bytes: a leak, or a large run whose memory the process keeps
BEAT_EVERY = 0.5  # seconds at least between two heartbeats


def attempt(job: dict[str, Any], heartbeat: Callable[[], None] = lambda: None) -> str | None:
    """Execute a job of a sweep: the JSON of an experiment, and arguments of `run`.

    None when the run is complete, else the sentence of an error that another attempt would meet
    again. Raises whatever another attempt may not meet again.
    """
    arguments = dict(job)
    data = arguments.pop("experiment")
    task = load_file(data["source"]) if "source" in data else None
    # The process that started this worker built the experiment from files that the user named.
    trusted = Trusted(task, frozenset(mixer_files(data["model"]["layers"])))
    try:
        run(from_json(data, trusted), **arguments, heartbeat=heartbeat)
    except (RunFailed, ValueError) as error:
        return in_own_code(error) or str(error)
    except RunStopped:
        raise
    except Exception as error:
        told = in_own_code(error)
        if told is None:
            raise
        return told
    return None


def main() -> None:
    """Execute jobs until stdin ends or this process is to be replaced."""
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # SLURM sends it to all processes of a job
    out = _Output()
    lines: SimpleQueue[bytes] = SimpleQueue()
    busy = threading.Event()
    threading.Thread(target=_read, args=(lines, busy), daemon=True).start()
    import lab.training.trainer  # noqa: F401 - what every run needs is no growth of memory

    state, memory = process_state(), resident_bytes()
    for count in itertools.count(1):
        line = lines.get()
        if not line:
            return
        busy.set()
        job = json.loads(line)
        try:
            error = attempt(job, out.heartbeat)
        except RunStopped as stopped:
            print(stopped, file=sys.stderr)
            raise SystemExit(1) from None
        busy.clear()
        gc.collect()
        if count == 1:
            gc.freeze()  # modules are imported: from here on `collect` looks only at runs
        last = count >= RUNS or _is_replaced(job, state, memory)
        out.write({"error": error, "last": last})
        if last:
            return


def _is_replaced(job: dict[str, Any], state: tuple[object, ...], memory: int) -> bool:
    """Whether this process must not execute another run after this job.

    state, memory: `process_state` and `resident_bytes` before its first job. Trackers and
    torch.compile keep state of their own, and a user's code can change anything.
    """
    data = job["experiment"]
    own_code = "source" in data or mixer_files(data["model"]["layers"])
    if job.get("compile") or job.get("track") or own_code:
        return True
    return process_state() != state or resident_bytes() - memory > GROWTH


class _Output:
    """Lines for the process that started this one. What else prints to stdout goes nowhere."""

    def __init__(self) -> None:
        self._file = os.fdopen(os.dup(1), "wb", buffering=0)
        with open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), 1)
        self._beaten = 0.0

    def heartbeat(self) -> None:
        if time.monotonic() - self._beaten > BEAT_EVERY:
            self._beaten = time.monotonic()
            self._put(b"\n")

    def write(self, data: dict[str, Any]) -> None:
        self._put(json.dumps(data).encode() + b"\n")

    def _put(self, line: bytes) -> None:
        with contextlib.suppress(BrokenPipeError):  # nobody reads any more: stdin ends too
            self._file.write(line)


def _read(lines: SimpleQueue[bytes], busy: threading.Event) -> None:
    rest = b""
    while data := os.read(0, 1 << 16):  # not sys.stdin: its lock would be held when Python ends
        *whole, rest = (rest + data).split(b"\n")
        for line in whole:
            lines.put(line)
    lines.put(b"")
    if busy.is_set():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)  # time to save; what is not saved is computed again
        os._exit(1)


if __name__ == "__main__":
    main()
