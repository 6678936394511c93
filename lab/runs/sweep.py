"""Many runs at once, by an engine: lab/runs/engines/local.py, ray.py, slurm.py.

Runs are idempotent, so a stopped sweep resumes when it is started again: complete runs are read,
interrupted ones resume, and no run is made twice.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, overload

from lab import registry
from lab.config import Experiment
from lab.errors import RunFailed, RunStopped
from lab.results.folder import Folder, load
from lab.results.reader import open_regular
from lab.results.result import Result
from lab.runs import engines, trackers
from lab.runs.lineage import failure, missing, waves, where
from lab.runs.process import interrupts
from tasks import refuse

POLL_EVERY = 0.25  # seconds between two looks at the running runs
LOOK = 256  # unfinished runs that are looked at: an engine starts them in their order
TAIL = 1 << 16  # bytes at the end of metrics.jsonl that hold its latest row


@dataclass
class State:
    """One run of a sweep, as the live table shows it. row: its latest row of metrics; while it
    waits for its parent, `parent` in it says where that stands. error: a sentence, when it failed.
    earlier: a sentence about the attempt before, when that crashed or hung."""

    status: Literal["waiting", "running", "done", "failed"] = "waiting"
    row: dict[str, Any] = field(default_factory=lambda: {"step": 0})
    error: str = ""
    earlier: str = ""


Run = tuple[Experiment, State]


@dataclass(frozen=True)
class SweepOptions:
    """How the runs of a sweep execute; nothing here changes a result. workers: runs at a time, None
    for as many as the engine has room for. retries: repetitions of a run that crashed. own: the
    engine's own options."""

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

    poll gets the latest metrics row of each experiment several times a second. Raises RunFailed,
    after the other runs have ended, with one sentence for each run that failed; RunStopped as
    `sweep` does.
    """
    options = SweepOptions(device, workers, checkpoint_every, compile, track)
    states = sweep(experiments, out, options, lambda states: poll([state.row for state in states]))
    errors = [state.error for state in states if state.error]
    if errors:
        raise RunFailed("; ".join(dict.fromkeys(errors)))
    return [load(Folder(Path(out), experiment).path) for experiment in experiments]


def sweep(
    experiments: Sequence[Experiment],
    out: str | Path,
    options: SweepOptions,
    poll: Callable[[list[State]], None] = lambda states: None,
) -> list[State]:
    """Run every experiment; returns the last state of each, done or failed. Parents that are not
    there are made first, each once; a child whose parent fails has failed.

    poll gets the states several times a second. SIGINT and SIGTERM make every run save and end,
    then RunStopped is raised. ValueError when engine or tracker is not installed, or an option is
    not the engine's.
    """
    _check(options)
    engine = registry.load("engines", options.engine)
    states = [State() for _ in experiments]
    start = time.time()
    with interrupts() as stop_requested:
        for experiment, state in zip(experiments, states, strict=True):
            folder = Folder(Path(out), experiment)
            if folder.result.exists() and not options.track:
                state.status = "done"
            elif folder.metrics.exists():
                _update(state, folder, start)
        poll(states)
        wanted = list(zip(experiments, states, strict=True))
        failed: dict[str, str] = {}  # the sentences of runs that failed, by slug
        for wave in waves([e for e, state in wanted if state.status != "done"], out):
            own = [(e, State()) for e in wave.ancestors]
            now = own + [pair for pair in wanted if pair[0].slug in wave.slugs]

            def watch(own: list[Run] = own) -> None:
                _show_ancestors(wanted, own)
                poll(states)

            _execute(engine, now, failed, out, options, stop_requested, watch)
            failed |= {e.slug: state.error for e, state in now if state.error}
        if stop_requested:
            raise RunStopped(Path(out), max(state.row["step"] for state in states))
    return states


def _execute(
    engine: engines.Engine,
    runs: Sequence[Run],
    failed: Mapping[str, str],
    out: str | Path,
    options: SweepOptions,
    stop_requested: Sequence[int],
    poll: Callable[[], None],
) -> None:
    """Run what is not done by the engine, until all have ended or a stop is requested. failed: the
    sentences of ancestors that failed, whose children fail without a try."""
    start, polled = time.time(), 0.0
    for experiment, state in runs:
        state.row.pop("parent", None)
        for parent in missing(experiment, out):
            if parent.slug in failed:
                state.status, state.error = "failed", failure(parent, failed[parent.slug])
                break
    waiting = [run for run in runs if run[1].status not in ("done", "failed")]
    unfinished = dict(enumerate(waiting))
    jobs = _Jobs([experiment for experiment, _ in waiting], out, options)
    if stop_requested:
        return
    if not jobs:
        poll()
        return
    running = engine(jobs, options.workers, options.retries, **options.own)
    with contextlib.closing(running) as events:
        for results in events:
            for number, error, earlier in results:
                experiment, state = unfinished.pop(number)
                state.earlier = earlier
                # A job of a cluster may be lost when some of its runs are complete.
                if error and not Folder(Path(out), experiment).result.exists():
                    state.status, state.error = "failed", error
                else:
                    state.status = "done"
            if time.monotonic() - polled > POLL_EVERY or not unfinished:
                for experiment, state in itertools.islice(unfinished.values(), LOOK):
                    _update(state, Folder(Path(out), experiment), start)
                poll()
                polled = time.monotonic()
            if stop_requested:
                break


def _show_ancestors(runs: Sequence[Run], ancestors: Sequence[Run]) -> None:
    """Put into the row of each run that waits for one of these ancestors where that one stands."""
    steps = {e.slug: state.row["step"] for e, state in ancestors}
    for experiment, state in runs if steps else ():
        for parent in experiment.ancestors():
            if state.status == "waiting" and parent.slug in steps:
                state.row["parent"] = where(parent, steps[parent.slug])


def _check(options: SweepOptions) -> None:
    trackers.check(options.track)
    for name, value in options.own.items():
        if name not in engines.own_options(options.engine):
            having = [e for e in registry.names("engines") if name in engines.own_options(e)]
            raise refuse(f"--{name}", value, f"only with --engine {' or '.join(having)}")


class _Jobs(Sequence[engines.Job]):
    """The jobs of a sweep, each made when an engine asks for it: their JSON is large."""

    def __init__(
        self, experiments: Sequence[Experiment], out: str | Path, options: SweepOptions
    ) -> None:
        self._experiments = experiments
        self._same = {
            "out": str(out if options.engine == "local" else Path(out).resolve()),
            "device": options.device,
            "checkpoint_every": options.checkpoint_every,
            "compile": options.compile,
            "track": options.track,
        }

    def __len__(self) -> int:
        return len(self._experiments)

    @overload
    def __getitem__(self, index: int) -> engines.Job: ...
    @overload
    def __getitem__(self, index: slice) -> list[engines.Job]: ...
    def __getitem__(self, index: int | slice) -> engines.Job | list[engines.Job]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return {"experiment": self._experiments[index].to_json(), **self._same}


def _update(state: State, folder: Folder, start: float) -> None:
    """Update the state of a run that has not ended from its folder."""
    try:
        fresh = folder.lock.stat().st_mtime >= start  # the process of the run has opened its lock
        state.status = "running" if fresh else "waiting"
        with open_regular(folder.metrics) as file:
            file.seek(max(0, file.seek(0, 2) - TAIL))
            lines = file.read().splitlines()
    except (OSError, ValueError):  # the run has not started, or will refuse its folder
        return
    for line in reversed(lines):
        with contextlib.suppress(ValueError):  # the first may be cut, the last incomplete
            row = json.loads(line)
            if isinstance(row, dict) and {"loss", "step"} <= set(row):
                state.row = row
                return
