"""A pool of processes on this machine, one single-threaded process a run (`lab.runs.worker`).

With CUDA devices, a run gets the device with the fewest runs, by CUDA_VISIBLE_DEVICES. A pipe ties
every process to this one: when this one ends, even by SIGKILL, its runs save and end.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO

from lab.runs.engines import Events, Job, JobResult
from lab.runs.worker import FINAL

PATIENCE = 60  # seconds that a run waits for a lock: a killed sweep may have left it saving


@dataclass
class _Worker:
    process: subprocess.Popen[str]
    stderr: IO[str]
    device: str | None


def execute(jobs: Sequence[Job], workers: int | None, retries: int) -> Events:
    """workers: by default one per core, or one per CUDA device where there are any."""
    waiting = deque(range(len(jobs)))
    running: dict[int, _Worker] = {}
    tries: Counter[int] = Counter()
    devices = cuda_devices(jobs[0]["device"]) if jobs else []
    most = workers or len(devices) or os.cpu_count() or 1
    try:
        while waiting or running:
            while waiting and len(running) < most:
                number = waiting.popleft()
                busy = Counter(worker.device for worker in running.values())
                device = min(devices, key=lambda name: busy[name], default=None)
                running[number] = _start(jobs[number], device)
                tries[number] += 1
            results: list[JobResult] = []
            for number, worker in list(running.items()):
                code = worker.process.poll()
                if code is None:
                    continue
                del running[number]
                message = _close(worker)
                if code not in (0, FINAL) and tries[number] <= retries:
                    waiting.append(number)
                    continue
                if code not in (0, FINAL):
                    crash = f"a run ended with code {code} ({tries[number]} tries)"
                    message = f"{crash}: {message}" if message else crash
                results.append(JobResult(number, message if code else None))
            yield results
            time.sleep(0.1)
    finally:
        for worker in running.values():
            worker.process.terminate()
        for worker in running.values():
            worker.process.wait()
            _close(worker)


def cuda_devices(device: str) -> list[str]:
    """The CUDA devices that runs may use, as CUDA_VISIBLE_DEVICES names them; [] for the CPU."""
    if device == "cpu":
        return []
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [str(i) for i in range(torch.cuda.device_count())]
    return names[: torch.cuda.device_count()]


def _start(job: Job, device: str | None) -> _Worker:
    stderr = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed when the process has ended
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "lab.runs.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
        text=True,
        env={**os.environ, **threads, **({"CUDA_VISIBLE_DEVICES": device} if device else {})},
        start_new_session=True,  # Ctrl-C reaches this process alone, which passes it on once
    )
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # it has ended already, which poll() reports
        process.stdin.write(json.dumps({**job, "watched": True, "wait": PATIENCE}) + "\n")
        process.stdin.flush()
    return _Worker(process, stderr, device)


def _close(worker: _Worker) -> str:
    """The last line that an ended process wrote to stderr."""
    assert worker.process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        worker.process.stdin.close()
    worker.stderr.seek(0)
    line = worker.stderr.read().strip().rpartition("\n")[2]
    worker.stderr.close()
    return line
