"""Where the runs of a sweep are carried out: lab/runs/engines/local.py is `--engine local`.

An engine is one generator function, `execute`. It yields, several times a second, the orders that
have ended since; whoever closes it makes it stop what it started, each run saving first. Queueing,
placing and starting again are the engine's own; that no run is made twice is the run folder's
(lab.runs.run: a lock, checkpoints, result.json). Parameters by keyword are its options on the
command line.
"""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Generator, Sequence
from typing import Any, Protocol

from lab import registry
from tasks import refuse

Job = dict[str, Any]  # what lab.runs.worker.attempt takes


JobResult = tuple[int, str | None]  # the number of an order; what went wrong, None when complete


Events = Generator[list[JobResult], None, None]


class Engine(Protocol):
    def __call__(
        self, orders: Sequence[Job], workers: int | None, retries: int, **own: Any
    ) -> Events:
        """Carry out every order, at most `workers` at a time; one that crashes is tried again up to
        `retries` times. An engine's own options are keyword-only parameters in its signature."""
        ...


def own_options(name: str) -> dict[str, inspect.Parameter]:
    """The options that only this engine has."""
    parameters = inspect.signature(registry.load("engines", name)).parameters
    return {k: p for k, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}


def need(engine: str, package: str) -> None:
    """ValueError when the package of an engine is not installed."""
    if importlib.util.find_spec(package) is None:
        allowed = f"it needs pip install 'synthetic-reasoning-lab[{engine}]'"
        raise refuse("--engine", engine, allowed)
