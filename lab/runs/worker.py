"""One run as a process of its own: the worker of a sweep (`python -m lab.runs.worker`)."""

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


def attempt(order: dict[str, Any]) -> str | None:
    """Carry out an order of a sweep: the JSON of an experiment and arguments of `run`. None when
    the run is complete, else what cannot be mended by another attempt, in a sentence."""
    order = dict(order)
    data = order.pop("experiment")
    task = load_file(data["source"]) if "source" in data else None
    # The process that started this worker built the experiment from files that the user named.
    trusted = Trusted(task, frozenset(mixer_files(data["model"]["layers"])))
    try:
        run(from_json(data, trusted), **order)
    except (RunFailed, ValueError) as error:
        return str(error)
    return None


FINAL = 2  # exit code: another attempt would fail in the same way


def main() -> None:
    """One order on stdin, one sentence on stderr when it fails. A watched run ends with whoever
    holds the other end of stdin, even if that one is killed."""
    order = json.loads(sys.stdin.readline())
    if order.pop("watched", False):
        threading.Thread(target=_end_with_stdin, daemon=True).start()
    try:
        says = attempt(order)
    except RunStopped as stopped:
        print(stopped, file=sys.stderr)
        raise SystemExit(1) from None
    if says:
        print(says, file=sys.stderr)
        raise SystemExit(FINAL)


def _end_with_stdin() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(10)  # to save; what is not saved is done again
    os._exit(1)


if __name__ == "__main__":
    main()
