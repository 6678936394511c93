"""Runs as tasks of a Ray cluster: one CPU each, and one GPU with --device cuda.

A task executes several runs of a large sweep, one after another (lab.runs.chunk). Ray places the
tasks, and repeats one whose worker or node is lost. The folder --out must be on a
file system that all nodes share: a run is written there, and another node resumes it from there.
Results are read from there too, so only an error sentence comes back through Ray. Without an
address a cluster of this machine is started, and ended with the sweep; no usage is reported.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lab.errors import RunFailed, RunStopped
from lab.runs.chunk import chunks, execute_chunk, numbered
from lab.runs.engines import Events, Job, JobResult, need
from lab.runs.engines.local import SAVING

PATIENCE = 300  # seconds that a run waits for a lock: a lost node may still be ending its process
STALL = 10  # minutes without a step or an evaluated batch after which a run counts as hung
MOST = 50  # runs of a task
QUEUED = 100  # tasks at once, which is what a cluster that grows by itself sees
TASKS = 4  # tasks a CPU at least, so that all end at about the same time

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "0",
}


def execute(
    jobs: Sequence[Job], workers: int | None, retries: int, *, address: str | None = None
) -> Events:
    """Execute the jobs as Ray tasks; workers: by default as many as the cluster has room for.

    address: of a running Ray cluster, as `ray start --head` prints it; without one a local cluster
    is started. All nodes must share the folder of --out
    """
    need("ray", "ray")
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    if address and (Path.home() / ".ray" / "auth_token").exists():
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # then `ray start --head` asks for it
    import ray

    with contextlib.redirect_stdout(io.StringIO()):  # where Ray prints messages of its nodes
        yield from _drive(ray, jobs, workers, retries, address)


def _drive(
    ray: Any, jobs: Sequence[Job], workers: int | None, retries: int, address: str | None
) -> Events:
    _connect(ray, address, workers)
    running: dict[Any, range] = {}
    try:
        cuda = jobs[0]["device"] == "cuda"
        if cuda and not address and not ray.cluster_resources().get("GPU"):
            raise RunFailed("--device cuda: Ray finds no GPU on this machine")
        task = ray.remote(
            num_cpus=1,
            num_gpus=1 if cuda else 0,
            max_retries=retries,
            retry_exceptions=True,
        )(_task)
        room = workers or int(ray.cluster_resources().get("GPU" if cuda else "CPU", 1)) or 1
        size = max(1, min(MOST, len(jobs) // (TASKS * room)))
        waiting = deque(chunks(len(jobs), size))
        while waiting or running:
            while waiting and len(running) < (workers or max(QUEUED, 2 * room)):
                numbers = waiting.popleft()
                chunk = [{**jobs[number], "wait": PATIENCE} for number in numbers]
                running[task.remote(chunk, retries)] = numbers
            ready, _ = ray.wait(list(running), num_returns=len(running), timeout=0.5)
            yield [r for ref in ready for r in _results(ray, ref, running.pop(ref), retries)]
    finally:
        for ref in running:
            ray.cancel(ref)  # as Ctrl-C in the task: it saves and ends
        if running:
            ray.wait(list(running), num_returns=len(running), timeout=SAVING)
        ray.shutdown()


def _connect(ray: Any, address: str | None, workers: int | None) -> None:
    ours: dict[str, Any] = {"include_dashboard": False, "num_cpus": workers}
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            address=address or "local",
            log_to_driver=False,
            logging_level="ERROR",
            **({} if address else ours),
        )
    except Exception as error:
        line = str(error).strip().partition("\n")[0]
        raise RunFailed(f"no Ray cluster answers at --address {address}: {line}") from None
    if threading.current_thread() is threading.main_thread():
        signal.signal(
            signal.SIGTERM, handler
        )  # Ray's own would end this process before the runs have saved


def _task(jobs: Sequence[Job], retries: int) -> list[JobResult]:
    try:
        return execute_chunk(jobs, retries, STALL)
    except RunStopped as stopped:  # its node is shutting down
        raise InterruptedError(str(stopped)) from None


def _results(ray: Any, ref: Any, numbers: range, retries: int) -> list[JobResult]:
    try:
        return numbered(numbers, ray.get(ref))
    except ray.exceptions.RayError as lost:
        lines = [line for line in str(lost).splitlines() if line.strip()]
        error = f"a run was lost or crashed ({retries + 1} tries): {lines[-1].strip()}"
        return [JobResult(number, error) for number in numbers]
