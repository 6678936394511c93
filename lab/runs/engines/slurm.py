"""Runs as a SLURM job array, by submitit: one CPU each, and one GPU with --device cuda.

A job executes several runs with --pack, or where the array would exceed what SLURM allows, one
after another (lab.runs.chunk). SLURM queues the jobs, and ends one that hangs by its time limit.
submitit puts a preempted or timed-out job back into the queue, and its run resumes from its
checkpoint. The folder --out must be on a file system that all nodes share. sbatch reads its
environment as always: SBATCH_ACCOUNT, SBATCH_QOS, SBATCH_MEM_PER_NODE. submitit passes jobs and
results as pickles of its own, in a folder that only the user may read and that is deleted when no
job has crashed.
"""

from __future__ import annotations

import logging
import math
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lab.errors import RunFailed, RunStopped
from lab.runs.chunk import chunks, execute_chunk, numbered
from lab.runs.engines import Events, Job, JobResult, need
from tasks import refuse

MOST = 1000  # jobs of an array: what SLURM allows by default
FOR_EVER = -1  # a run waits for a lock until the time of its job is over
GRACE = 600  # seconds at most between SIGTERM and the end by SLURM
LOOK = 5  # seconds between two looks at the queue
MISSING = 4  # looks without a job and its result until it counts as crashed: files may come late


class Chunk:
    """What submitit calls in a job. When SLURM wants the node (SIGTERM), its run saves and it waits
    until SLURM ends it: a job that ends by itself is not put back into the queue. SIGUSR2 is
    submitit's: it puts back what `checkpoint` returns."""

    def __call__(self, jobs: Sequence[Job], retries: int) -> list[JobResult]:
        try:
            return execute_chunk(jobs, retries, math.inf)
        except (RunStopped, KeyboardInterrupt):
            time.sleep(GRACE)
            raise SystemExit(1) from None

    def checkpoint(self, jobs: Sequence[Job], retries: int) -> Any:
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, jobs, retries)


def execute(
    jobs: Sequence[Job],
    workers: int | None,
    retries: int,
    *,
    partition: str | None = None,
    minutes: int = 60,
    pack: int | None = None,
) -> Events:
    """Execute the jobs as an array; workers: array tasks at a time, by default all.

    partition: of SLURM, by default the cluster's own
    minutes: of one run; a job that needs more for its runs is put back into the queue up to 3
    times, and resumes
    pack: runs of one job; none for one, or more where the array would have over 1,000 jobs
    """
    need("slurm", "submitit")
    if minutes < 1:
        raise refuse("--minutes", minutes, "at least 1")
    if pack is not None and pack < 1:
        raise refuse("--pack", pack, "at least 1")
    if shutil.which("sbatch") is None:
        raise RunFailed("--engine slurm: there is no sbatch here")
    yield from drive("slurm", jobs, workers, retries, partition, minutes, pack)


def drive(
    cluster: str,
    jobs: Sequence[Job],
    workers: int | None,
    retries: int,
    partition: str | None = None,
    minutes: int = 60,
    pack: int | None = None,
) -> Events:
    """The same on any of submitit's clusters. Its "local" one, processes of this machine, is for
    tests where there is no SLURM."""
    import submitit

    logging.getLogger("submitit").setLevel(logging.ERROR)
    out = Path(jobs[0]["out"])
    out.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".slurm-", dir=out))  # for this user alone
    size = pack or -(-len(jobs) // MOST)
    parts = chunks(len(jobs), size)
    packed = [[{**jobs[number], "wait": FOR_EVER} for number in part] for part in parts]
    executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
    options: dict[str, Any] = {"slurm_partition": partition} if partition else {}
    if jobs[0]["device"] == "cuda":
        options["gpus_per_node"] = 1
    executor.update_parameters(
        name="lab-sweep",
        timeout_min=minutes * size,
        cpus_per_task=1,
        slurm_array_parallelism=workers or len(parts),
        **options,
    )
    running: dict[int, Any] = {}  # by the number of the chunk
    tries = Counter(range(len(parts)))
    crashed = False
    try:
        try:
            running = dict(enumerate(executor.map_array(Chunk(), packed, [retries] * len(parts))))
        except submitit.core.utils.FailedJobError as error:
            raise RunFailed(f"--engine slurm: {' '.join(str(error).split())}") from None
        ends = _ends(cluster)
        while running:
            results: list[JobResult] = []
            for part in ends(running):
                submitted = running.pop(part)
                crash, done = _outcome(submitted)
                if crash and tries[part] <= retries:
                    tries[part] += 1
                    running[part] = executor.submit(Chunk(), packed[part], retries)
                    continue
                results += numbered(parts[part], done)
                if crash:
                    crashed = True
                    log = f"see {submitted.paths.stderr}"
                    message = f"a run crashed ({tries[part]} tries): {crash}; {log}"
                    results += [JobResult(number, message) for number in parts[part]]
            yield results
            time.sleep(0.5)
    finally:
        for submitted in running.values():
            submitted.cancel(check=False)
        if not crashed:
            shutil.rmtree(folder, ignore_errors=True)


def _outcome(job: Any) -> tuple[str, list[JobResult]]:
    """Why an ended job crashed ("" where it did not), and how its runs ended."""
    if job.paths.result_pickle.exists():
        error = job.exception()
        if error is None:
            return "", job.result()
        lines = [line for line in str(error).splitlines() if line.strip()]
        return next((line for line in lines if "Error" in line), lines[-1]).strip(), []
    lines = (job.stderr() or "").strip().splitlines()
    return lines[-1] if lines else "no output", []


def _ends(cluster: str) -> Any:
    """A function that returns the numbers of the running jobs that have ended.

    It reads the queue, which every SLURM has; submitit itself reads sacct, which many have not.
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
