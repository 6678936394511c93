"""The worker process of a sweep, for one run: `python -m lab.runs.worker`."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from typing import Any

from lab.config.experiment import from_json
from lab.config.trust import Trusted, mixer_files
from lab.errors import RunFailed, RunStopped
from lab.runs.run import run
from tasks import load_file

FINAL = 2  # exit code: another attempt would fail in the same way


def attempt(job: dict[str, Any]) -> str | None:
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
        run(from_json(data, trusted), **arguments)
    except (RunFailed, ValueError) as error:
        return str(error)
    return None


def main() -> None:
    """Read one job from stdin; when it fails, write one sentence to stderr.

    A watched job ends with the process at the other end of stdin, even if that one is killed.
    """
    job = json.loads(sys.stdin.readline())
    if job.pop("watched", False):
        threading.Thread(target=_end_with_stdin, daemon=True).start()
    try:
        message = attempt(job)
    except RunStopped as stopped:
        print(stopped, file=sys.stderr)
        raise SystemExit(1) from None
    if message:
        print(message, file=sys.stderr)
        raise SystemExit(FINAL)


def _end_with_stdin() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(10)  # time to save; what is not saved is computed again
    os._exit(1)


if __name__ == "__main__":
    main()
