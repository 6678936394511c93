"""Runs from Python with their progress: a function of the caller, or a bar on stderr.

The bar is shown in a terminal, and in a notebook where ipywidgets is installed. Elsewhere nothing
is written.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lab.config import Experiment
from lab.errors import RunFailed
from lab.results.folder import Folder, load
from lab.results.result import Result
from lab.runs.run import run
from lab.runs.sweep import State, SweepOptions, sweep
from lab.text import shown

# Finished runs, all runs, and the latest metrics row of each run: {"step": 0} before the first.
Progress = Callable[[int, int, list[dict[str, Any]]], None]


def run_one(
    experiment: Experiment,
    out: str | Path,
    device: str,
    threads: int,
    watch: Callable[[dict[str, Any]], None] | None,
) -> Result:
    """`lab.runs.run.run` with Python's warnings; without `watch`, a bar of the steps."""
    if watch is not None:
        return run(experiment, out, device, threads, watch=watch, warn=warnings.warn)
    with bar(experiment.name, experiment.train.steps) as show:

        def step(row: dict[str, Any]) -> None:
            show(row["step"], row)

        return run(experiment, out, device, threads, watch=step, warn=warnings.warn)


def run_all(
    experiments: Sequence[Experiment],
    out: str | Path,
    device: str = "auto",
    workers: int | None = None,
    progress: Progress | None = None,
) -> list[Result]:
    """The result of every experiment, in their order; worker processes execute the runs.

    progress: called several times a second; None for a bar of the finished steps of all runs.
    RunFailed with one sentence for each failed run, after the others have finished.
    """
    total = sum(e.train.steps for e in experiments)
    with bar(f"{len(experiments)} runs", total) as show:

        def poll(states: list[State]) -> None:
            ended = [state.status in ("done", "failed") for state in states]
            rows = [state.row for state in states]
            if progress is not None:
                progress(sum(ended), len(states), rows)
                return
            steps = (
                e.train.steps if over else row["step"]
                for e, over, row in zip(experiments, ended, rows, strict=True)
            )
            show(sum(steps), {"runs": f"{sum(ended)}/{len(states)}"})

        states = sweep(experiments, out, SweepOptions(device, workers), poll)
    errors = [state.error for state in states if state.error]
    if errors:
        raise RunFailed("; ".join(dict.fromkeys(errors)))
    return [load(Folder(Path(out), experiment).path) for experiment in experiments]


@contextmanager
def bar(label: str, total: int) -> Iterator[Callable[[int, dict[str, Any]], None]]:
    """A function that takes the finished steps and what to show beside the bar."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    widgets = console.is_jupyter and importlib.util.find_spec("ipywidgets") is not None
    visible = widgets or (console.is_terminal and not console.is_jupyter)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[beside]}"),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=console, disable=not visible, transient=True) as bars:
        task = bars.add_task(shown(label), total=total, beside="")

        def show(steps: int, row: dict[str, Any]) -> None:
            told = row.get("runs", row.get("parent", ""))
            beside = f"loss {row['loss']:.4f}" if "loss" in row else told
            bars.update(task, completed=steps, beside=beside)

        yield show
