"""Runs as a SLURM job array, by submitit: one CPU each, and one GPU with --device cuda.

SLURM queues them. submitit puts a preempted or timed-out job back into the queue, and it resumes
from its checkpoint. The folder --out must be on a file system that all nodes share. sbatch
reads its environment as always: SBATCH_ACCOUNT, SBATCH_QOS, SBATCH_MEM_PER_NODE. submitit passes
jobs and results as pickles of its own, in a folder that only the user may read and that is deleted
when no job has crashed.
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
GRACE = 600  # seconds at most between SIGTERM and the end by SLURM
LOOK = 5  # seconds between two looks at the queue
MISSING = 4  # looks without a job and its result until it counts as crashed: files may come late


class Run:
    """What submitit calls in a job. When SLURM wants the node (SIGTERM), the run saves and waits
    until SLURM ends it: a job that ends by itself is not put back into the queue. SIGUSR2 is
    submitit's: it puts back what `checkpoint` returns."""

    def __call__(self, job: Job) -> str | None:
        try:
            return attempt(job)
        except (RunStopped, KeyboardInterrupt):
            time.sleep(GRACE)
            raise SystemExit(1) from None

    def checkpoint(self, job: Job) -> Any:
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, job)


def execute(
    jobs: Sequence[Job],
    workers: int | None,
    retries: int,
    *,
    partition: str | None = None,
    minutes: int = 60,
) -> Events:
    """Execute the jobs as an array; workers: array tasks at a time, by default all.

    partition: of SLURM, by default the cluster's own
    minutes: of one run; one that needs more is put back into the queue up to 3 times, and resumes
    """
    need("slurm", "submitit")
    if minutes < 1:
        raise refuse("--minutes", minutes, "at least 1")
    if shutil.which("sbatch") is None:
        raise RunFailed("--engine slurm: there is no sbatch here")
    yield from drive("slurm", jobs, workers, retries, partition, minutes)


def drive(
    cluster: str,
    jobs: Sequence[Job],
    workers: int | None,
    retries: int,
    partition: str | None = None,
    minutes: int = 60,
) -> Events:
    """The same on any of submitit's clusters. Its "local" one, processes of this machine, is for
    tests where there is no SLURM."""
    import submitit

    logging.getLogger("submitit").setLevel(logging.ERROR)
    out = Path(jobs[0]["out"])
    out.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".slurm-", dir=out))  # for this user alone
    executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
    options: dict[str, Any] = {"slurm_partition": partition} if partition else {}
    if jobs[0]["device"] == "cuda":
        options["gpus_per_node"] = 1
    executor.update_parameters(
        name="lab-sweep",
        timeout_min=minutes,
        cpus_per_task=1,
        slurm_array_parallelism=workers or len(jobs),
        **options,
    )
    patient = [{**job, "wait": FOR_EVER} for job in jobs]
    running: dict[int, Any] = {}
    tries = Counter(range(len(jobs)))
    crashed = False
    try:
        try:
            running = dict(enumerate(executor.map_array(Run(), patient)))
        except submitit.core.utils.FailedJobError as error:
            raise RunFailed(f"--engine slurm: {' '.join(str(error).split())}") from None
        ends = _ends(cluster)
        while running:
            results: list[JobResult] = []
            for number in ends(running):
                submitted = running.pop(number)
                crash, message = _outcome(submitted)
                if crash and tries[number] <= retries:
                    tries[number] += 1
                    running[number] = executor.submit(Run(), patient[number])
                    continue
                if crash:
                    crashed = True
                    log = f"see {submitted.paths.stderr}"
                    message = f"a run crashed ({tries[number]} tries): {message}; {log}"
                results.append(JobResult(number, message))
            yield results
            time.sleep(0.5)
    finally:
        for submitted in running.values():
            submitted.cancel(check=False)
        if not crashed:
            shutil.rmtree(folder, ignore_errors=True)


def _outcome(job: Any) -> tuple[bool, str | None]:
    """Whether an ended job crashed, and its error sentence."""
    if job.paths.result_pickle.exists():
        error = job.exception()
        if error is None:
            return False, job.result()
        lines = [line for line in str(error).splitlines() if line.strip()]
        return True, next((line for line in lines if "Error" in line), lines[-1]).strip()
    lines = (job.stderr() or "").strip().splitlines()
    return True, lines[-1] if lines else "no output"


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
