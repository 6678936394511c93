"""Several runs of a sweep as one job of a cluster: a worker executes them one after another there.

So a run that crashes its process fails alone, and a hung one is tried again, as on one machine.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from lab.errors import RunStopped
from lab.runs.engines import Job, JobResult
from lab.runs.engines.local import drive
from lab.runs.process import interrupts

SAVING = 60  # seconds that a run has to save when its node is wanted


def chunks(jobs: int, size: int) -> list[range]:
    """The numbers of jobs in their order, `size` together, the last ones fewer."""
    return [range(start, min(start + size, jobs)) for start in range(0, jobs, size)]


def execute_chunk(jobs: Sequence[Job], retries: int, stall: float) -> list[JobResult]:
    """Execute jobs on this machine, one at a time; how each ended, in their order.

    stall: as of the local engine. RunStopped after SIGINT or SIGTERM, when the run has saved.
    """
    ended: list[JobResult] = []
    with interrupts() as stop_requested:
        with contextlib.closing(drive(jobs, 1, retries, stall, SAVING)) as events:
            for results in events:
                ended += results
                if stop_requested:
                    break
        if stop_requested:
            raise RunStopped(Path(jobs[0]["out"]), 0)
    return sorted(ended)


def numbered(numbers: Sequence[int], ended: Sequence[JobResult]) -> list[JobResult]:
    """The results of a chunk with the numbers of its jobs in the whole sweep."""
    return [result._replace(number=numbers[result.number]) for result in ended]
