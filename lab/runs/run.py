"""From an Experiment to its Result, through the run folder.

`run` is idempotent: a complete run is read. An interrupted one resumes from its last checkpoint and
ends with the same bytes of weights as an unbroken one (on a CPU; it keeps its number of threads).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab.config import Experiment
from lab.data.position_ids import check_rows
from lab.errors import RunFailed, RunStopped
from lab.results.environment import environment, forget_operators, missing_compiler
from lab.results.folder import Folder, load
from lab.results.result import Result
from lab.results.summary import samples_to
from lab.runs.lineage import failure, missing, where
from lab.runs.process import interrupts, pick_device

LOOKED_AT = 0.2  # seconds

Watcher = Callable[[dict[str, Any]], None]


def run(
    experiment: Experiment,
    out: str | Path = "runs",
    device: str = "auto",
    threads: int = 1,
    checkpoint_every: int = 50,
    compile: bool = False,
    watch: Watcher = lambda row: None,
    warn: Callable[[str], None] = lambda text: None,
    track: str | None = None,
    wait: float = 0,
    heartbeat: Callable[[], None] = lambda: None,
) -> Result:
    """Train and evaluate one experiment under out/, or read it where that is done. Its parent is
    made first where it is not there, unless this run has a checkpoint already.

    threads: of torch; another number gives other bytes of weights, so a run that resumes keeps that
    of its start. checkpoint_every: steps. compile: use torch.compile where it pays
    (lab.training.compile). watch: gets every row of metrics.jsonl, and rows with `parent`, a text,
    while that one is made. warn: gets a sentence about each
    checkpoint that cannot be used, other threads, or a compiler that is missing. track: a tracker
    (lab.runs.trackers), of this run alone. wait: seconds to wait for another process that makes the
    same run, -1 for no limit. heartbeat: called after every step and every evaluated batch.

    Raises RunFailed (folder in use, full disk, loss or weights not finite), RunStopped (SIGINT,
    SIGTERM), ValueError (options that exclude each other, a damaged result.json, no sound
    checkpoint).
    """
    from filelock import FileLock, Timeout

    from lab.runs import trackers

    trackers.check(track)
    folder = Folder(Path(out), experiment)
    if folder.result.exists() and not track:
        return load(folder.path)
    target = pick_device(device)
    experiment.train.installed()
    if not folder.path.exists():
        _check(experiment)  # what is refused leaves no folder
    for parent in missing(experiment, out):
        _make_parent(
            parent, out, device, threads, checkpoint_every, compile, watch, warn, wait, heartbeat
        )
    try:
        folder.open()
        # `lab list runs` takes the lock for a moment, to see whether it is held.
        with FileLock(folder.lock, timeout=wait if wait < 0 else max(wait, LOOKED_AT)):
            if folder.result.exists():
                result = load(folder.path)
                trackers.complete(track, folder, result)
                return result
            with trackers.tracking(track, folder) as note:

                def both(row: dict[str, Any]) -> None:
                    watch(row)
                    note(row)

                result = _train(
                    experiment,
                    folder,
                    target,
                    threads,
                    checkpoint_every,
                    compile,
                    both,
                    warn,
                    heartbeat,
                )
                trackers.finish(track, folder, result, note)
                return result
    except Timeout:
        raise RunFailed(f"{folder.path} is in use by another process") from None
    except OSError as error:
        place = error.filename or folder.path
        raise RunFailed(f"cannot write {place}: {error.strerror or error}") from None


def _make_parent(
    parent: Experiment,
    out: str | Path,
    device: str,
    threads: int,
    checkpoint_every: int,
    compile: bool,
    watch: Watcher,
    warn: Callable[[str], None],
    wait: float,
    heartbeat: Callable[[], None],
) -> None:
    """`run` of the parent of a run, whose `watch` hears where it stands."""

    def standing(row: dict[str, Any]) -> None:
        watch({"step": 0, "parent": where(parent, row["step"])})

    try:
        run(
            parent,
            out,
            device,
            threads,
            checkpoint_every,
            compile,
            standing,
            warn,
            wait=wait,
            heartbeat=heartbeat,
        )
    except RunFailed as failed:
        raise RunFailed(failure(parent, failed)) from None


def _check(experiment: Experiment) -> None:
    """ValueError for what cannot be run, which only a look at its rows and parameters shows."""
    from lab.runs.own_mixers import check_mixers

    check_rows(experiment)
    check_mixers(experiment.model)
    stages = (*experiment.ancestors(), experiment)
    if any(e.train.objective == "distillation" for e in stages):
        from lab.training.objectives.distillation import check_learning

        for one in stages:
            if one.train.objective == "distillation":
                check_learning(one)
    frozen = [e for e in stages if e.train.freeze]
    if frozen:
        from lab.nn.model import make_model
        from lab.training.freeze import freeze

        for one in frozen:
            freeze(make_model(one), one.train.freeze)


def _train(
    experiment: Experiment,
    folder: Folder,
    device: Any,
    threads: int,
    checkpoint_every: int,
    compile: bool,
    watch: Watcher,
    warn: Callable[[str], None],
    heartbeat: Callable[[], None],
) -> Result:
    from lab.training.heap import keep_heap
    from lab.training.trainer import Trainer

    keep_heap()
    forget_operators()
    if missing := missing_compiler(device.type):
        warn(missing)
    trainer = Trainer(experiment, folder, device, threads, compile, watch, warn, heartbeat)
    with interrupts() as stop_requested:
        trainer.fit(checkpoint_every, stop_requested)
        watch({"step": trainer.step, "evaluating": len(experiment.probes)})
        began = time.monotonic()
        scores = tuple(trainer.scores())
        evaluation_seconds = trainer.evaluation_seconds + time.monotonic() - began
        if stop_requested:
            raise RunStopped(folder.path, trainer.step)
    curves = trainer.evaluations
    rows = trainer.step * experiment.train.batch
    final = {"rows": rows, "scores": [vars(score) for score in scores]}
    result = Result(
        run=str(folder.path),
        experiment=experiment.to_json(),
        scores=scores,
        curves=curves,
        seconds=trainer.seconds,
        evaluation_seconds=evaluation_seconds,
        environment={**environment(device.type, trainer.threads), "compiled": trainer.compiled},
        learned=samples_to([*curves, final], experiment.train.threshold),
        steps=trainer.step,
    )
    folder.finish(result)
    return result
