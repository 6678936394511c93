"""Trackers beside the run folder's own metrics.jsonl: TensorBoard, Weights & Biases, Trackio.

Off unless --track asks, and no part of a run's hash. A tracker is a mirror: whenever a run starts
or goes on, what it kept in the run folder is written anew from metrics.jsonl, which resuming cuts
back to the checkpoint; so no step is there twice. Nothing goes over the network: wandb works
offline unless the user's own WANDB_MODE says otherwise (`wandb sync` sends it later, always under
the run folder's name), and Trackio keeps its data in the folder.
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


Row = dict[str, Any]


Write = Callable[[int, dict[str, float]], None]  # step, values by name


def check(name: str | None) -> None:
    """ValueError when the tracker's package is not installed."""
    if name and importlib.util.find_spec(name) is None:
        allowed = "it needs pip install 'synthetic-reasoning-lab[track]'"
        raise refuse("--track", name, allowed)


@contextlib.contextmanager
def tracking(name: str | None, folder: Folder) -> Iterator[Callable[[Row], None]]:
    """A function that takes every row of metrics, right after metrics.jsonl got it.

    The first call opens the tracker and writes all rows that are there: only then has a run that
    goes on cut its log.
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
    """Give the final scores to a tracker, at the last step of the log."""
    if name:
        note({"step": last_step(folder), "scores": [vars(score) for score in result.scores]})


def complete(name: str | None, folder: Folder, result: Result) -> None:
    """Write a run that is complete already, unless the tracker has it."""
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
    found = {f"train/{k}": v for k, v in own.items() if k not in ("step", "budget") and _number(v)}
    for score in row.get("scores", ()):
        where = branch + f"{score['probe']}/{score['length']}".replace(" ", "_")
        for measure in ("exact", "answer", "valid_thought"):
            if _number(score.get(measure)):
                found[f"{where}/{measure}"] = score[measure]
    return found


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@contextlib.contextmanager
def _opened(name: str, folder: Folder) -> Iterator[Write]:
    from lab.errors import RunFailed

    place = folder.path / name
    shutil.rmtree(place, ignore_errors=True)
    config = folder.experiment.to_json()
    if name == "tensorboard":
        from torch.utils.tensorboard import SummaryWriter

        with SummaryWriter(str(place)) as writer:
            writer.add_text("config", f"    {json.dumps(config)}")

            def scalars(step: int, values: dict[str, float]) -> None:
                for key, value in values.items():
                    writer.add_scalar(key, value, step)

            yield scalars
        return
    options: dict[str, Any]
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # no network without being asked
    os.environ.setdefault("WANDB_CACHE_DIR", str(place.resolve() / "cache"))
    loaded = sys.modules.get("trackio.utils")
    if name == "trackio" and loaded and place.resolve() != loaded.TRACKIO_DIR:
        raise RunFailed("trackio keeps one folder per process: start each run in its own")
    os.environ["TRACKIO_DIR"] = str(place.resolve())
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
