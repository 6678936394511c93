"""Live progress of one run or of several, on stderr, so that stdout carries only the result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

Rows = list[dict[str, Any]]


@contextmanager
def progress(labels: list[str], steps: int, quiet: bool) -> Iterator[Callable[[Rows], None]]:
    """A function that takes the latest metrics row of each run and redraws their bars."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=16),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        TextColumn("{task.fields[says]}"),
        TimeRemainingColumn(compact=True),
    )
    with Progress(
        *columns, console=console, disable=quiet or not console.is_terminal, transient=True
    ) as bars:
        tasks = [bars.add_task(label, total=steps, says="starting") for label in labels]

        def show(rows: Rows) -> None:
            for task, row in zip(tasks, rows, strict=True):
                if "loss" in row:
                    says = (
                        f"loss {row['loss']:.4f}  exact {row['exact']:.3f} "
                        f" {row['tokens_per_second'] / 1000:.0f}k tok/s"
                    )
                    bars.update(task, completed=row["step"], says=says)
                elif "evaluating" in row:
                    bars.update(task, completed=row["step"], says="evaluating")

        yield show
