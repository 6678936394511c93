"""Measurements: lab/bench/tasks.py is `lab bench tasks`; each yields the rows of a table."""

from __future__ import annotations

import time
from collections.abc import Callable


def best_seconds(
    work: Callable[[], object], repeats: int = 10, least: float = 0.3, warm: bool = True
) -> float:
    """Least CPU seconds of this process for one call, over `repeats` calls or `least` seconds.

    CPU time, so that other programs on the machine disturb it little; meant for one thread.
    """
    if warm:
        work()
    best, spent, done = float("inf"), 0.0, 0
    while done < repeats or spent < least:
        start = time.process_time()
        work()
        took = time.process_time() - start
        best, spent, done = min(best, took), spent + took, done + 1
    return best
