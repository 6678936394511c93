"""Many runs at once, by an engine: lab/runs/engines/local.py, ray.py, slurm.py.

Runs are idempotent, so a sweep that was stopped goes on when it is started again: complete runs are
read, interrupted ones go on, and no run is made twice.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lab import registry
from lab.config import Experiment
from lab.errors import RunFailed, RunStopped
from lab.results.folder import Folder, load
from lab.results.result import Result
from lab.runs import engines
from lab.runs import trackers as track
from lab.runs.process import interrupts
from tasks import refuse

SHOW = 0.25  # seconds between two looks at the running runs


TAIL = 1 << 16  # bytes at the end of metrics.jsonl that hold its latest row


@dataclass
class State:
    """One run of a sweep as its table shows it. row: its latest row of metrics. error: what went
    wrong, in a sentence."""

    status: Literal["waiting", "running", "done", "failed"] = "waiting"
    row: dict[str, Any] = field(default_factory=lambda: {"step": 0})
    error: str = ""


@dataclass(frozen=True)
class SweepOptions:
    """How a sweep is carried out, none of which changes a result. workers: runs at a time. retries:
    of a run that crashed. own: options of the engine alone."""

    device: str = "auto"
    workers: int | None = None
    checkpoint_every: int = 50
    compile: bool = False
    track: str | None = None
    engine: str = "local"
    retries: int = 1
    own: Mapping[str, Any] = field(default_factory=dict)


def run_many(
    experiments: Sequence[Experiment],
    out: str | Path,
    device: str = "auto",
    workers: int | None = None,
    poll: Callable[[list[dict[str, Any]]], None] = lambda rows: None,
    checkpoint_every: int = 50,
    compile: bool = False,
    track: str | None = None,
) -> list[Result]:
    """Run every experiment on this machine, at most `workers` at a time (default: one per core).

    poll gets the latest metrics row of each experiment several times a second. Failed says in one
    sentence a run what went wrong, after the others have ended; Stopped as in `sweep`.
    """
    how = SweepOptions(device, workers, checkpoint_every, compile, track)
    states = sweep(experiments, out, how, lambda states: poll([state.row for state in states]))
    errors = [state.error for state in states if state.error]
    if errors:
        raise RunFailed("; ".join(dict.fromkeys(errors)))
    return [load(Folder(Path(out), experiment).path) for experiment in experiments]


def sweep(
    experiments: Sequence[Experiment],
    out: str | Path,
    how: SweepOptions,
    poll: Callable[[list[State]], None] = lambda states: None,
) -> list[State]:
    """Run every experiment: each one's last state, done or failed.

    SIGINT and SIGTERM make every run save and end, then Stopped is raised. ValueError when engine
    or tracker cannot be had.
    """
    _refuse(how)
    engine = registry.load("engines", how.engine)
    folders = [Folder(Path(out), experiment) for experiment in experiments]
    states = [State("done" if f.result.exists() and not how.track else "waiting") for f in folders]
    numbers = [i for i, state in enumerate(states) if state.status == "waiting"]
    place = str(out) if how.engine == "local" else str(Path(out).resolve())
    orders = [
        {
            "experiment": experiments[i].to_json(),
            "out": place,
            "device": how.device,
            "checkpoint_every": how.checkpoint_every,
            "compile": how.compile,
            "track": how.track,
        }
        for i in numbers
    ]
    began, shown = time.time(), 0.0
    with interrupts() as stop_requested:
        for i in range(len(states)):
            _look(states[i], folders[i], began)
        poll(states)
        if orders and not stop_requested:
            running = engine(orders, how.workers, how.retries, **how.own)
            with contextlib.closing(running) as events:
                for ended in events:
                    for order, says in ended:
                        state = states[numbers[order]]
                        state.status, state.error = "failed" if says else "done", says or ""
                    if time.monotonic() - shown > SHOW or ended:
                        for i in numbers:
                            _look(states[i], folders[i], began)
                        poll(states)
                        shown = time.monotonic()
                    if stop_requested:
                        break
        if stop_requested:
            raise RunStopped(Path(out), max(state.row["step"] for state in states))
    return states


def _refuse(how: SweepOptions) -> None:
    track.check(how.track)
    for name in how.own:
        if name not in engines.own_options(how.engine):
            has = [e for e in registry.names("engines") if name in engines.own_options(e)]
            raise refuse(f"--{name}", how.own[name], f"only with --engine {' or '.join(has)}")


def _look(state: State, folder: Folder, began: float) -> None:
    """Bring the state of a run that has not ended up to date from its folder."""
    if state.status in ("done", "failed"):
        return
    try:
        fresh = folder.lock.stat().st_mtime >= began  # whoever makes the run has opened its lock
        state.status = "running" if fresh else "waiting"
        with folder.metrics.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - TAIL))
            lines = file.read().splitlines()
    except OSError:  # nobody has begun
        return
    for line in reversed(lines):
        with contextlib.suppress(ValueError):  # the first may be cut, the last half-written
            row = json.loads(line)
            if "loss" in row:
                state.row = row
                return
