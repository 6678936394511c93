"""A pool of processes on this machine, single-threaded, each for many runs (`lab.runs.worker`).

With CUDA devices, a run gets the device with the fewest runs, by CUDA_VISIBLE_DEVICES. A pipe ties
every process to this one: when this one ends, even by SIGKILL, its runs save and end.
"""

from __future__ import annotations

import os
import select
from collections import Counter, deque
from collections.abc import Sequence

from lab.runs.engines import Events, Job, JobResult
from lab.runs.worker_process import Worker, close
from tasks import refuse

LOOK_EVERY = 0.1  # seconds between two looks at workers that say nothing
SAVING = 1.5  # seconds that the runs of an interrupted sweep have to save
LEAVING = 10  # seconds that a process may take to end when it has nothing more to do


def execute(jobs: Sequence[Job], workers: int | None, retries: int, *, stall: float = 10) -> Events:
    """workers: by default one per core, or one per CUDA device where there are any.

    stall: minutes without a step or an evaluated batch after which a run counts as hung; it is
    ended and tried again as after a crash
    """
    if not stall > 0:
        raise refuse("--stall", stall, "more than 0 minutes")
    yield from drive(jobs, workers, retries, stall, SAVING)


def drive(
    jobs: Sequence[Job], workers: int | None, retries: int, stall: float, saving: float
) -> Events:
    """`execute` with the seconds that the runs have to save when it is closed early."""
    waiting = deque(range(len(jobs)))
    tries: Counter[int] = Counter()
    earlier: dict[int, str] = {}
    devices = cuda_devices(jobs[0]["device"]) if jobs else []
    most = workers or len(devices) or os.cpu_count() or 1
    pool: list[Worker] = []
    try:
        while waiting or _busy(pool):
            while waiting and len(_busy(pool)) < most:
                number = waiting.popleft()
                _ready(pool, devices, most).give(number, jobs[number])
                tries[number] += 1
            select.select([worker for worker in _busy(pool) if worker.open], [], [], LOOK_EVERY)
            results: list[JobResult] = []
            for worker in _busy(pool):
                job, outcome = worker.number, worker.outcome(60 * stall)
                if job is None or outcome is None:
                    continue
                if outcome.crashed and tries[job] <= retries:
                    earlier[job] = outcome.error or ""
                    waiting.append(job)
                    continue
                error = (
                    f"{outcome.error} ({tries[job]} tries)" if outcome.crashed else outcome.error
                )
                results.append(JobResult(job, error, earlier.pop(job, "")))
            yield results
    finally:
        close(pool, saving if _busy(pool) else LEAVING)


def _busy(pool: list[Worker]) -> list[Worker]:
    return [worker for worker in pool if worker.number is not None]


def _ready(pool: list[Worker], devices: list[str], most: int) -> Worker:
    """A worker for the next run, on the device with the fewest runs: an idle one of the pool, else
    a new one in it. What has ended is taken out."""
    ended = [worker for worker in pool if worker.ended()]
    close(ended, 0)
    pool[:] = [worker for worker in pool if worker not in ended]
    busy = Counter(worker.device for worker in _busy(pool))
    device = min(devices, key=lambda name: busy[name], default=None)
    idle = [worker for worker in pool if worker.number is None and not worker.retired]
    for worker in idle:
        if worker.device == device:
            return worker
    if idle and len(_busy(pool)) + len(idle) >= most:
        idle[0].retire()
    pool.append(Worker(device))
    return pool[-1]


def cuda_devices(device: str) -> list[str]:
    """The CUDA devices that runs may use, as CUDA_VISIBLE_DEVICES names them; [] for the CPU."""
    if device == "cpu":
        return []
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [str(i) for i in range(torch.cuda.device_count())]
    return names[: torch.cuda.device_count()]
