"""Measurements of speed: lab/bench/tasks.py is `lab bench tasks`.

Every file has a function `measure` that yields the rows of its table, as plain JSON.
"""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["best_seconds"]


def best_seconds(
    work: Callable[[], object], repeats: int = 10, least: float = 0.3, warm: bool = True
) -> float:
    """Least CPU seconds of this process for one call of `work`, over at least `repeats` calls and
    at least `least` seconds. warm: one call more beforehand, which is not counted.

    CPU time instead of wall time, so that other programs disturb it little; use one thread.
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
