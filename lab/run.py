"""Experiment -> Result: device, seeds, resume, the run folder.

`run` is idempotent: a complete run is read, an interrupted one goes on from its last checkpoint and
ends with the same weights as an unbroken one (on one CPU, with the same number of threads).
`python -m lab.run` is one run as a process of its own, the worker of lab.sweep.
"""

from __future__ import annotations

import json
import math
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from lab.config import Experiment, from_json
from lab.results import Folder, Result, environment, load

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
) -> Result:
    """Train, evaluate and keep one experiment. watch gets every logged row of metrics; compile
    asks for torch.compile where it pays (lab._compile).

    Raises Failed (locked folder, full disk, diverged loss), Stopped (SIGINT, SIGTERM), ValueError
    (options that do not go together).
    """
    from filelock import FileLock, Timeout

    folder = Folder(Path(out), experiment)
    if folder.result.exists():
        return load(folder.path)
    try:
        folder.open()
        with FileLock(folder.lock, timeout=0):
            if folder.result.exists():
                return load(folder.path)
            return _run(experiment, folder, device, threads, checkpoint_every, compile, watch, warn)
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

    from lab import checkpoint
    from lab._compile import compile_blocks, decide
    from lab.evaluate import score
    from lab.optim import build
    from lab.train import train

    torch.set_num_threads(threads)
    device = pick_device(device_name)
    model = make_model(experiment).to(device)
    optimizer = build(model, experiment.train)
    step, before = checkpoint.restore(folder.checkpoints, model, optimizer, warn)
    folder.cut_log(step)
    compiled = decide(experiment, model, folder.path, device, compile)
    if compiled["used"]:
        compile_blocks(model)
    began, tokens, steps = time.monotonic(), 0, experiment.train.steps

    def seconds() -> float:
        return before + time.monotonic() - began

    def evaluate(step: int) -> list[dict[str, Any]]:
        return [vars(score(model, experiment, probe)) for probe in experiment.probes]

    def log(row: dict[str, Any]) -> None:
        folder.log(row)
        watch(row)

    with interrupts() as asked:
        for now in train(experiment, model, optimizer, step, device):
            step, tokens = now.number, tokens + now.tokens
            if not math.isfinite(now.loss):
                says = f"the loss is {now.loss} at step {step}; try a smaller train.lr"
                raise Failed(f"{says} (last checkpoint kept in {folder.checkpoints})")
            if step % LOG_EVERY == 0 or step == steps:
                speed = tokens / (time.monotonic() - began)
                log(
                    {
                        "step": step,
                        "rows": step * experiment.train.batch,
                        "loss": now.loss,
                        "exact": now.exact,
                        "lr": now.lr,
                        "tokens_per_second": speed,
                        "seconds": seconds(),
                    }
                )
            every = experiment.train.eval_every
            if every and step % every == 0 and step < steps:
                rows = step * experiment.train.batch
                log({"step": step, "rows": rows, "scores": evaluate(step)})
            if step % checkpoint_every == 0 or step == steps or asked:
                checkpoint.save(folder.checkpoints, step, seconds(), model, optimizer)
            if asked:
                raise Stopped(folder.path, step)
        watch({"step": step, "evaluating": len(experiment.probes)})
        scores = tuple(score(model, experiment, probe) for probe in experiment.probes)
        if asked:
            raise Stopped(folder.path, step)
    result = Result(
        run=str(folder.path),
        experiment=experiment.to_json(),
        scores=scores,
        curves=[row for row in folder.read_log() if "scores" in row],
        seconds=seconds(),
        environment={**environment(device.type, threads), "compiled": compiled},
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


def main() -> None:
    """One run for lab.sweep: a JSON order on stdin, one sentence on stderr when it fails."""
    order = json.load(sys.stdin)
    data = order.pop("experiment")
    trusted = None
    if "source" in data:  # our parent was given this file by the user
        from tasks import load_file

        trusted = load_file(data["source"])
    try:
        run(from_json(data, trusted), **order)
    except (Failed, Stopped, ValueError) as error:
        print(error, file=sys.stderr)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
