"""Live progress of one run or of several, on stderr, so that stdout holds only the result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from lab.cli.tables import plain
from lab.text import shown

if TYPE_CHECKING:
    from lab.runs.sweep import State


Rows = list[dict[str, Any]]


@contextmanager
def progress(labels: list[str], steps: int, quiet: bool) -> Iterator[Callable[[Rows], None]]:
    """A function that takes the latest metrics row of each run and redraws their bars."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=16),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        TextColumn("{task.fields[status]}", markup=False),
        TimeRemainingColumn(compact=True),
    )
    with Progress(
        *columns, console=console, disable=quiet or not console.is_terminal, transient=True
    ) as bars:
        tasks = [bars.add_task(shown(label), total=steps, status="starting") for label in labels]

        def show(rows: Rows) -> None:
            for task, row in zip(tasks, rows, strict=True):
                if "loss" in row:
                    status = (
                        f"loss {row['loss']:.4f}  exact {row['exact']:.3f} "
                        f" {row['tokens_per_second'] / 1000:.0f}k tok/s"
                    )
                    bars.update(task, completed=row["step"], status=status)
                elif "evaluating" in row:
                    bars.update(task, completed=row["step"], status="evaluating")

        yield show


@contextmanager
def table(
    labels: list[str], steps: list[int], quiet: bool
) -> Iterator[Callable[[list[State]], None]]:
    """A function that takes the state of every run of a sweep and redraws their table; where stderr
    is no terminal it writes a line for each run that has ended."""
    console = Console(stderr=True)
    ended: set[int] = set()
    if quiet or not console.is_terminal:

        def tell(states: list[State]) -> None:
            for number, state in enumerate(states):
                if state.status in ("done", "failed") and number not in ended:
                    ended.add(number)
                    line = f"{len(ended)} of {len(states)}  {labels[number]}  {state.status}"
                    console.print(shown(line), markup=False, highlight=False, soft_wrap=True)

        yield (lambda states: None) if quiet else tell
        return
    with Live(console=console, transient=True, auto_refresh=False) as live:
        yield lambda states: live.update(_runs(labels, steps, states, console.height), refresh=True)


def _runs(labels: list[str], steps: list[int], states: list[State], height: int) -> Group:
    """The running runs, as many as fit, under the counts of all."""
    kinds = [state.status for state in states]
    counts = [f"{kinds.count(kind)} {kind}" for kind in ("done", "running", "waiting", "failed")]
    running = [i for i, kind in enumerate(kinds) if kind == "running"]
    room = max(1, height - 4)
    rows = []
    for i in running if len(running) <= room else running[: room - 1]:
        row = states[i].row
        loss, exact = (f"{row[k]:.4f}" if k in row else "-" for k in ("loss", "exact"))
        rows.append([labels[i], f"{row['step']}/{steps[i]}", loss, exact])
    if len(running) > room:
        rows.append([f"and {len(running) - room + 1} more", "", "", ""])
    return Group("  ".join(counts), plain(["run", "step", "loss", "exact"], rows, left=["run"]))
