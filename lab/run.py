"""Experiment -> Result: device, seeds, resume, the run folder.

`run` is idempotent: a complete run is read, an interrupted one goes on from its last checkpoint and
ends with the same weights as an unbroken one (on one CPU, with the same number of threads).
`python -m lab.run` is one run as a process of its own, the worker of a sweep.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from lab.config import Experiment, from_json
from lab.results import Folder, Result, environment, load, samples_to

LOG_EVERY = 10


class Stopped(Exception):
    """The run was interrupted; its checkpoint is saved. `step`: where it stands."""

    def __init__(self, folder: Path, step: int) -> None:
        super().__init__(f"stopped at step {step}; {folder} is saved")
        self.folder, self.step = folder, step


class Failed(Exception):
    """A run that cannot go on, in one sentence."""


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
) -> Result:
    """Train, evaluate and keep one experiment. watch gets every logged row of metrics; compile
    asks for torch.compile where it pays (lab._compile); track names a tracker (lab.track). wait:
    seconds to wait for another process that has the run, -1 for as long as it takes.

    Raises Failed (locked folder, full disk, diverged loss), Stopped (SIGINT, SIGTERM), ValueError
    (options that do not go together).
    """
    from filelock import FileLock, Timeout

    from lab import track as trackers

    trackers.check(track)
    folder = Folder(Path(out), experiment)
    if folder.result.exists() and not track:
        return load(folder.path)
    experiment.train.installed()
    try:
        folder.open()
        with FileLock(folder.lock, timeout=wait):
            if folder.result.exists():
                result = load(folder.path)
                trackers.complete(track, folder, result)
                return result
            with trackers.tracking(track, folder) as note:

                def both(row: dict[str, Any]) -> None:
                    watch(row)
                    note(row)

                result = _run(
                    experiment, folder, device, threads, checkpoint_every, compile, both, warn
                )
                trackers.finish(track, folder, result, note)
                return result
    except Timeout:
        raise Failed(f"{folder.path} is in use by another process") from None
    except OSError as error:
        where = error.filename or folder.path
        raise Failed(f"cannot write {where}: {error.strerror or error}") from None


def _run(
    experiment: Experiment,
    folder: Folder,
    device_name: str,
    threads: int,
    checkpoint_every: int,
    compile: bool,
    watch: Watcher,
    warn: Callable[[str], None],
) -> Result:
    import torch

    from lab._course import Course

    torch.set_num_threads(threads)
    device = pick_device(device_name)
    course = Course(experiment, folder, device, compile, watch, warn)
    with interrupts() as asked:
        course.go(checkpoint_every, asked)
        watch({"step": course.step, "evaluating": len(experiment.probes)})
        scores = course.scores()
        if asked:
            raise Stopped(folder.path, course.step)
    curves = [row for row in folder.read_log() if "scores" in row]
    rows = course.step * experiment.train.batch
    final = {"rows": rows, "scores": [vars(score) for score in scores]}
    result = Result(
        run=str(folder.path),
        experiment=experiment.to_json(),
        scores=tuple(scores),
        curves=curves,
        seconds=course.seconds,
        environment={**environment(device.type, threads), "compiled": course.compiled},
        learned=samples_to([*curves, final], experiment.train.threshold),
        steps=course.step,
    )
    folder.finish(result)
    return result


def make_model(experiment: Experiment) -> Any:
    """The model of an experiment with its first weights, drawn from the seed's own stream."""
    import numpy as np
    import torch

    from lab.data import stream
    from lab.model import Model

    seed = stream(experiment.train.seed, "weights").generate_state(1, np.uint64)[0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(seed))
        return Model(experiment.model, len(experiment.task.words))


def pick_device(name: str) -> Any:
    """auto: CUDA where there is one, else the CPU."""
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise Failed("--device cuda: torch sees no CUDA device here")
    return torch.device(name)


@contextmanager
def interrupts() -> Iterator[list[int]]:
    """A list that SIGINT or SIGTERM fills, so that a step ends first; a second one acts at once."""
    asked: list[int] = []
    kinds = (signal.SIGINT, signal.SIGTERM)

    def note(number: int, frame: FrameType | None) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    try:
        old = [signal.signal(kind, note) for kind in kinds]
    except ValueError:  # not the main thread: leave signals to whoever runs us
        yield asked
        return
    try:
        yield asked
    finally:
        for kind, handler in zip(kinds, old, strict=True):
            signal.signal(kind, handler)


def attempt(order: dict[str, Any]) -> str | None:
    """Carry out an order of a sweep: the JSON of an experiment and arguments of `run`. None when
    the run is complete, else what cannot be mended by another attempt, in a sentence."""
    order = dict(order)
    data = order.pop("experiment")
    trusted = None
    if "source" in data:  # whoever gave the order was given this file by the user
        from tasks import load_file

        trusted = load_file(data["source"])
    try:
        run(from_json(data, trusted), **order)
    except (Failed, ValueError) as error:
        return str(error)
    return None


FINAL = 2  # exit code: another attempt would fail in the same way


def main() -> None:
    """One order on stdin, one sentence on stderr when it fails. A watched run ends with whoever
    holds the other end of stdin, even if that one is killed."""
    order = json.loads(sys.stdin.readline())
    if order.pop("watched", False):
        threading.Thread(target=_end_with_stdin, daemon=True).start()
    try:
        says = attempt(order)
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        raise SystemExit(1) from None
    if says:
        print(says, file=sys.stderr)
        raise SystemExit(FINAL)


def _end_with_stdin() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(10)  # to save; what is not saved is done again
    os._exit(1)


if __name__ == "__main__":
    import lab.run

    lab.run.main()  # the module that others import, with the one Failed and the one Stopped
