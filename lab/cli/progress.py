"""Live progress of one run or of several, on stderr, so that stdout holds only the result."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from lab.cli.tables import plain
from lab.text import shown

if TYPE_CHECKING:
    from lab.runs.sweep import State


Rows = list[dict[str, Any]]
SAY_EVERY = 30.0  # seconds between two lines where stderr is no terminal


class _Lines:
    """Where every run stands, as a line of text each, every SAY_EVERY seconds."""

    def __init__(self, console: Console, labels: Sequence[str], steps: Sequence[int]) -> None:
        self._console, self._labels, self._steps = console, labels, steps
        self._said = time.monotonic()
        self._rows: dict[int, dict[str, Any]] = {}  # of each run, the last that has a loss
        self._first: dict[int, tuple[int, float]] = {}  # its first step here, and when

    def show(self, rows: Sequence[dict[str, Any]], running: Sequence[int] | None = None) -> None:
        """rows: the latest row of each run. running: the runs that get a line, None for all."""
        now = time.monotonic()
        for run, row in enumerate(rows):
            if "loss" in row:
                self._rows[run] = row
                self._first.setdefault(run, (row["step"], now))
        if now - self._said < SAY_EVERY:
            return
        self._said = now
        for text in dict.fromkeys(row["parent"] for row in rows if "parent" in row):
            self.say(text)
        for run, row in self._rows.items():
            if running is None or run in running:
                self.say(f"{self._labels[run]}: {self._where(run, row, now)}")

    def _where(self, run: int, row: dict[str, Any], now: float) -> str:
        step, last = row["step"], self._steps[run]
        text = f"step {step} of {last}, {', '.join(_standing(row))}"
        first, since = self._first[run]
        if step >= last:
            return f"{text}, evaluating"
        if step == first:
            return text
        return f"{text}, {(now - since) / (step - first) * (last - step):.0f} s left"

    def say(self, text: str) -> None:
        """Write a line."""
        self._console.print(shown(text), markup=False, highlight=False, soft_wrap=True)


def _standing(row: dict[str, Any]) -> list[str]:
    """What a step says of the model: its loss, the divergence of attention that it distils, or the
    reward of the completions it sampled."""
    if "reward" in row:
        return [f"reward {row['reward']:.3f}", f"pass@1 {row['pass@1']:.3f}"]
    loss = "divergence" if "divergence" in row else "loss"
    return [f"{loss} {row[loss]:.4f}", f"exact {row['exact']:.3f}"]


@contextmanager
def progress(labels: list[str], steps: int, quiet: bool) -> Iterator[Callable[[Rows], None]]:
    """A function that takes the latest metrics row of each run and redraws their bars; [] is a sign
    of life without news. Where stderr is no terminal it writes a line a run every SAY_EVERY
    seconds."""
    console = Console(stderr=True)
    if not quiet and not console.is_terminal:
        yield _Lines(console, labels, [steps] * len(labels)).show
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=16),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        TextColumn("{task.fields[status]}", markup=False),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=console, disable=quiet, transient=True) as bars:
        tasks = [bars.add_task(shown(label), total=steps, status="starting") for label in labels]

        def show(rows: Rows) -> None:
            for task, row in zip(tasks, rows, strict=bool(rows)):
                if "loss" in row:
                    speed = f"{row['tokens_per_second'] / 1000:.0f}k tok/s"
                    status = "  ".join([*_standing(row), speed])
                    bars.update(task, completed=row["step"], status=status)
                elif "evaluating" in row:
                    bars.update(task, completed=row["step"], status="evaluating")
                elif "parent" in row:
                    bars.update(task, status=row["parent"])

        yield show


@contextmanager
def table(
    labels: list[str], steps: list[int], quiet: bool
) -> Iterator[Callable[[list[State]], None]]:
    """A function that takes the state of every run of a sweep and redraws their table; where stderr
    is no terminal it writes a line for each run that has ended, and every SAY_EVERY seconds one for
    each that is running."""
    console = Console(stderr=True)
    ended: set[int] = set()
    lines = _Lines(console, labels, steps)
    if quiet or not console.is_terminal:

        def tell(states: list[State]) -> None:
            for number, state in enumerate(states):
                if state.status in ("done", "failed") and number not in ended:
                    ended.add(number)
                    lines.say(f"{len(ended)} of {len(states)}  {labels[number]}  {state.status}")
            running = [i for i, state in enumerate(states) if state.status == "running"]
            lines.show([state.row for state in states], running)

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
    parents = dict.fromkeys(state.row["parent"] for state in states if "parent" in state.row)
    return Group(
        "  ".join(counts),
        *(Text(shown(text)) for text in parents),
        plain(["run", "step", "loss", "exact"], rows, left=["run"]),
    )
