"""Engines: where the runs of a sweep execute. lab/runs/engines/local.py is `--engine local`.

An engine is one generator function, `execute`. Several times a second it yields the results of the
jobs that have ended since. When it is closed, it stops what it started, and each run saves first.
An engine queues, places and restarts jobs; the run folder sees to it that no run is made twice
(lab.runs.run: a lock, checkpoints, result.json). Keyword-only parameters of `execute` are options
of the command.
"""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Generator, Sequence
from typing import Any, NamedTuple, Protocol

from lab import registry
from tasks import refuse

Job = dict[str, Any]  # JSON: an experiment and arguments of `run`, for lab.runs.worker.attempt


class JobResult(NamedTuple):
    """A job that has ended. number: its index among the jobs. error: what went wrong, None when the
    run is complete. earlier: what went wrong in the attempt before it, "" for the first."""

    number: int
    error: str | None
    earlier: str = ""


Events = Generator[list[JobResult], None, None]


class Engine(Protocol):
    def __call__(
        self, jobs: Sequence[Job], workers: int | None, retries: int, **own: Any
    ) -> Events:
        """Execute every job, at most `workers` at a time. One that crashes is repeated up to
        `retries` times. An engine's own options are keyword-only parameters in its signature."""
        ...


def own_options(name: str) -> dict[str, inspect.Parameter]:
    """The options that only this engine has, by name."""
    parameters = inspect.signature(registry.load("engines", name)).parameters
    return {k: p for k, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}


def need(engine: str, package: str) -> None:
    """ValueError when the package of an engine is not installed."""
    if importlib.util.find_spec(package) is None:
        allowed = f"it needs pip install 'synthetic-reasoning-lab[{engine}]'"
        raise refuse("--engine", engine, allowed)
