"""Runs as tasks of a Ray cluster: one CPU each, and one GPU with --device cuda.

Ray places the runs, and repeats one whose worker or node is lost. The folder --out must be on a
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
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lab.errors import RunFailed, RunStopped
from lab.runs.engines import Events, Job, JobResult, need
from lab.runs.worker import attempt

PATIENCE = 600  # seconds that a run waits for a lock: a lost node may still be ending its process

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
    waiting = list(range(len(jobs)))
    running: dict[Any, int] = {}
    try:
        cuda = jobs[0]["device"] == "cuda"
        if cuda and not address and not ray.cluster_resources().get("GPU"):
            raise RunFailed("--device cuda: Ray finds no GPU on this machine")
        task = ray.remote(
            num_cpus=1,
            num_gpus=1 if cuda else 0,
            max_retries=retries,
            retry_exceptions=True,
            max_calls=1,  # a process of its own for each run
        )(_task)
        while waiting or running:
            while waiting and len(running) < (workers or len(jobs)):
                number = waiting.pop(0)
                running[task.remote({**jobs[number], "wait": PATIENCE})] = number
            ready, _ = ray.wait(list(running), num_returns=len(running), timeout=0.5)
            yield [JobResult(running.pop(ref), _outcome(ray, ref, retries)) for ref in ready]
    finally:
        for ref in running:
            ray.cancel(ref)  # as Ctrl-C in the task: it saves and ends
        if running:
            ray.wait(list(running), num_returns=len(running), timeout=60)
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


def _task(job: Job) -> str | None:
    try:
        return attempt(job)
    except RunStopped as stopped:  # its node is shutting down
        raise InterruptedError(str(stopped)) from None


def _outcome(ray: Any, ref: Any, retries: int) -> str | None:
    try:
        error: str | None = ray.get(ref)
        return error
    except ray.exceptions.RayError as lost:
        lines = [line for line in str(lost).splitlines() if line.strip()]
        return f"a run was lost or crashed ({retries + 1} tries): {lines[-1].strip()}"
