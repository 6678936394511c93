"""Many runs at once: each experiment in a single-threaded process of its own (`python -m lab.run`).

Runs are idempotent, so a sweep that was stopped goes on when it is started again.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

from lab.config import Experiment
from lab.results import Folder, Result, load
from lab.run import Failed, Stopped, interrupts


def run_many(
    experiments: Sequence[Experiment],
    out: str | Path,
    device: str = "auto",
    workers: int | None = None,
    poll: Callable[[list[dict[str, Any]]], None] = lambda rows: None,
    checkpoint_every: int = 50,
    compile: bool = False,
) -> list[Result]:
    """Run every experiment, at most `workers` at a time (default: one for each core).

    poll gets the latest metrics row of each experiment several times a second. SIGINT and SIGTERM
    are passed on: every run saves and ends, then Stopped is raised. Failed says in one sentence a
    run what went wrong, after the others have ended.
    """
    waiting = list(enumerate(experiments))
    running: dict[int, tuple[subprocess.Popen[str], IO[str]]] = {}
    errors: dict[int, str] = {}
    folders = [Folder(Path(out), experiment) for experiment in experiments]
    options = {
        "out": str(out),
        "device": device,
        "checkpoint_every": checkpoint_every,
        "compile": compile,
    }
    with interrupts() as asked:
        while running or (waiting and not asked):
            while waiting and not asked and len(running) < (workers or os.cpu_count() or 1):
                number, experiment = waiting.pop(0)
                running[number] = _start(experiment, options)
            if asked and asked[0]:
                for process, _ in running.values():
                    process.send_signal(signal.SIGTERM)
                asked[0] = 0  # passed on
            for number, (process, complaint) in list(running.items()):
                if process.poll() is not None:
                    del running[number]
                    if process.returncode:
                        complaint.seek(0)
                        last = complaint.read().strip().rpartition("\n")[2]
                        errors[number] = last or f"a run ended with code {process.returncode}"
                    complaint.close()
            rows = [_latest(folder) for folder in folders]
            poll(rows)
            time.sleep(0.1)
        if asked:
            raise Stopped(Path(out), max(row["step"] for row in rows))
    if errors:
        raise Failed("; ".join(dict.fromkeys(errors[number] for number in sorted(errors))))
    return [load(folder.path) for folder in folders]


def _start(
    experiment: Experiment, options: dict[str, Any]
) -> tuple[subprocess.Popen[str], IO[str]]:
    complaint = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed when the process has ended
    process = subprocess.Popen(
        [sys.executable, "-m", "lab.run"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=complaint,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
        start_new_session=True,  # Ctrl-C reaches us alone, and we pass it on once
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps({"experiment": experiment.to_json(), **options}))
    process.stdin.close()
    return process, complaint


def _latest(folder: Folder) -> dict[str, Any]:
    rows = [row for row in folder.read_log() if "loss" in row]
    return rows[-1] if rows else {"step": 0}
