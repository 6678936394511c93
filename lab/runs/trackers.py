"""Trackers beside the run folder's own metrics.jsonl: TensorBoard, Weights & Biases, Trackio.

Off without --track, and no part of a run's hash. A tracker is a copy: whenever a run starts or
resumes, the tracker's files in the run folder are written again from metrics.jsonl, which resuming
cuts back to the checkpoint; so no step is there twice. Nothing goes over the network: wandb works
offline unless the user sets WANDB_MODE (`wandb sync` uploads later, always under the run folder's
name), and Trackio stores its data in the folder.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from typing import Any

from lab.results.folder import Folder
from lab.results.result import Result
from tasks import refuse

NAMES = ("tensorboard", "wandb", "trackio")
PROJECT = "synthetic-reasoning-lab"

Row = dict[str, Any]  # one line of metrics.jsonl
Write = Callable[[int, dict[str, float]], None]  # step, values by name


def check(name: str | None) -> None:
    """ValueError when the tracker's package is not installed."""
    if name and importlib.util.find_spec(name) is None:
        allowed = "it needs pip install 'synthetic-reasoning-lab[track]'"
        raise refuse("--track", name, allowed)


@contextlib.contextmanager
def tracking(name: str | None, folder: Folder) -> Iterator[Callable[[Row], None]]:
    """A function to call with every row of metrics, right after it was written to metrics.jsonl.

    The first call opens the tracker and writes all rows of the log: not earlier, because a resumed
    run first cuts its log. Does nothing when name is None.
    """
    with contextlib.ExitStack() as stack:
        write: Write | None = None

        def note(row: Row) -> None:
            nonlocal write
            if name is None:
                return
            if write is None:
                write = stack.enter_context(_opened(name, folder))
                for old in folder.read_log():
                    write(old["step"], flat(old))
            elif flat(row):
                write(row["step"], flat(row))

        yield note


def finish(name: str | None, folder: Folder, result: Result, note: Callable[[Row], None]) -> None:
    """Write the final scores to a tracker, at the last step of the log."""
    if name:
        note({"step": last_step(folder), "scores": [vars(score) for score in result.scores]})


def complete(name: str | None, folder: Folder, result: Result) -> None:
    """Write a run that was complete before to a tracker, unless the tracker has it."""
    if name and not (folder.path / name).exists():
        with tracking(name, folder) as note:
            note({})
            finish(name, folder, result, note)


def last_step(folder: Folder) -> int:
    rows = folder.read_log()
    return int(rows[-1]["step"]) if rows else 0


def flat(row: Row) -> dict[str, float]:
    """The numbers of a row by name: train/loss, held_out/20/exact (probe, length, measure)."""
    if "evaluating" in row:
        return {}
    branch = f"branch-{row['branch']}/" if "branch" in row else ""  # another model than the run's
    own = {} if branch else row
    not_curves = ("step", "budget", "evaluation_seconds")
    values = {f"train/{k}": v for k, v in own.items() if k not in not_curves and _number(v)}
    for score in row.get("scores", ()):
        where = branch + f"{score['probe']}/{score['length']}".replace(" ", "_")
        for measure in ("exact", "answer", "valid_thought"):
            if _number(score.get(measure)):
                values[f"{where}/{measure}"] = score[measure]
    return values


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@contextlib.contextmanager
def _opened(name: str, folder: Folder) -> Iterator[Write]:
    from lab.errors import RunFailed

    path = folder.path / name
    shutil.rmtree(path, ignore_errors=True)
    config = folder.experiment.to_json()
    if name == "tensorboard":
        from torch.utils.tensorboard import SummaryWriter

        with SummaryWriter(str(path)) as writer:
            writer.add_text("config", f"    {json.dumps(config)}")

            def scalars(step: int, values: dict[str, float]) -> None:
                for key, value in values.items():
                    writer.add_scalar(key, value, step)

            yield scalars
        return
    options: dict[str, Any]
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # no network unless the user asks
    os.environ.setdefault("WANDB_CACHE_DIR", str(path.resolve() / "cache"))
    loaded = sys.modules.get("trackio.utils")
    if name == "trackio" and loaded and path.resolve() != loaded.TRACKIO_DIR:
        raise RunFailed("trackio keeps one folder per process: start each run in its own")
    os.environ["TRACKIO_DIR"] = str(path.resolve())
    with contextlib.redirect_stdout(io.StringIO()):  # stdout carries the result of the run
        tracker = importlib.import_module(name)
        if name == "wandb":
            options = {
                "id": folder.path.name,
                "dir": str(folder.path),
                "mode": os.environ.get("WANDB_MODE", "offline"),
                "settings": tracker.Settings(silent=True, console="off", x_disable_stats=True),
            }
        else:
            options = {"auto_log_cpu": False, "auto_log_gpu": False, "embed": False}
        try:
            run = tracker.init(
                project=PROJECT, name=folder.path.name, config=config, resume="allow", **options
            )
        except Exception as error:
            raise RunFailed(f"--track {name}: {error}") from None
    try:
        yield lambda step, values: run.log(values, step=step)
    finally:
        with contextlib.redirect_stdout(io.StringIO()):
            tracker.finish()
