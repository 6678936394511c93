"""Runs as a SLURM job array, by submitit: one CPU each, and one GPU with --device cuda.

SLURM queues them; a preempted or timed-out one is put back by submitit and goes on from its
checkpoint, since the same order is right again. The folder --out must be on the file system that
the nodes share. What sbatch reads from its environment holds too: SBATCH_ACCOUNT, SBATCH_QOS,
SBATCH_MEM_PER_NODE. submitit moves orders and answers as its own pickles, in a folder that only the
user may read and that is gone when all went well.
"""

from __future__ import annotations

import logging
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lab.errors import RunFailed, RunStopped
from lab.runs.engines import Events, Job, JobResult, need
from lab.runs.worker import attempt
from tasks import refuse

FOR_EVER = -1  # a run waits for a lock until the time of its job is over


GRACE = 600  # seconds at most between SIGTERM and the end that SLURM makes


LOOK = 5  # seconds between two looks at the queue


MISSING = 4  # looks without a job and its answer until it counts as crashed: files may come late


class Run:
    """What submitit calls in a job. When SLURM wants the node (SIGTERM), the run saves, and waits
    for what SLURM does: a job that ended by itself would not be put back. SIGUSR2 is submitit's: it
    puts the job back, with the order that `checkpoint` gives."""

    def __call__(self, order: Job) -> str | None:
        try:
            return attempt(order)
        except (RunStopped, KeyboardInterrupt):
            time.sleep(GRACE)
            raise SystemExit(1) from None

    def checkpoint(self, order: Job) -> Any:
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, order)


def execute(
    orders: Sequence[Job],
    workers: int | None,
    retries: int,
    *,
    partition: str | None = None,
    minutes: int = 60,
) -> Events:
    """Carry out the orders as an array; workers: array tasks at a time, by default all.

    partition: of SLURM, by default the cluster's own
    minutes: of one run; one that needs more is put back, up to 3 times, and goes on
    """
    need("slurm", "submitit")
    if minutes < 1:
        raise refuse("--minutes", minutes, "at least 1")
    if shutil.which("sbatch") is None:
        raise RunFailed("--engine slurm: there is no sbatch here")
    yield from drive("slurm", orders, workers, retries, partition, minutes)


def drive(
    cluster: str,
    orders: Sequence[Job],
    workers: int | None,
    retries: int,
    partition: str | None = None,
    minutes: int = 60,
) -> Events:
    """The same on any of submitit's clusters; its "local" one, processes of this machine, serves
    where there is no SLURM to try this on."""
    import submitit

    logging.getLogger("submitit").setLevel(logging.ERROR)
    out = Path(orders[0]["out"])
    out.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix=".slurm-", dir=out))  # for this user alone
    executor = submitit.AutoExecutor(folder=place, cluster=cluster)
    options: dict[str, Any] = {"slurm_partition": partition} if partition else {}
    if orders[0]["device"] == "cuda":
        options["gpus_per_node"] = 1
    executor.update_parameters(
        name="lab-sweep",
        timeout_min=minutes,
        cpus_per_task=1,
        slurm_array_parallelism=workers or len(orders),
        **options,
    )
    patient = [{**order, "wait": FOR_EVER} for order in orders]
    running: dict[int, Any] = {}
    tries = Counter(range(len(orders)))
    crashed = False
    try:
        try:
            running = dict(enumerate(executor.map_array(Run(), patient)))
        except submitit.core.utils.FailedJobError as error:
            raise RunFailed(f"--engine slurm: {' '.join(str(error).split())}") from None
        ends = _ends(cluster)
        while running:
            ended: list[JobResult] = []
            for number in ends(running):
                job = running.pop(number)
                crash, says = _answer(job)
                if crash and tries[number] <= retries:
                    tries[number] += 1
                    running[number] = executor.submit(Run(), patient[number])
                elif crash:
                    crashed = True
                    log = job.paths.stderr
                    ended.append(
                        (number, f"a run crashed ({tries[number]} tries): {says}; see {log}")
                    )
                else:
                    ended.append((number, says))
            yield ended
            time.sleep(0.5)
    finally:
        for job in running.values():
            job.cancel(check=False)
        if not crashed:
            shutil.rmtree(place, ignore_errors=True)


def _answer(job: Any) -> tuple[bool, str | None]:
    """Did the job crash, and what does it say?"""
    if job.paths.result_pickle.exists():
        error = job.exception()
        if error is None:
            return False, job.result()
        lines = [line for line in str(error).splitlines() if line.strip()]
        return True, next((line for line in lines if "Error" in line), lines[-1]).strip()
    lines = (job.stderr() or "").strip().splitlines()
    return True, lines[-1] if lines else "no output"


def _ends(cluster: str) -> Any:
    """A function that tells which of the running jobs have ended.

    submitit asks sacct, which many clusters do not have; the queue is there wherever SLURM is.
    """
    missing: Counter[str] = Counter()
    looked = 0.0

    def ends(running: dict[int, Any]) -> list[int]:
        nonlocal looked
        if cluster != "slurm":
            return [number for number, job in running.items() if job.done()]
        if time.monotonic() - looked > LOOK:
            looked = time.monotonic()
            queue = _queue()
            for job in running.values():
                absent = queue is not None and job.job_id not in queue
                missing[job.job_id] = missing[job.job_id] + 1 if absent else 0
        return [
            number
            for number, job in running.items()
            if job.paths.result_pickle.exists() or missing[job.job_id] >= MISSING
        ]

    return ends


def _queue() -> set[str] | None:
    """The jobs of this user that SLURM has not ended; None when it does not answer."""
    command = ["squeue", "--me", "--noheader", "--array", "--format=%i"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        return None
    return None if done.returncode else set(done.stdout.split())
