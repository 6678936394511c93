"""`lab sweep --descend`: coordinate descent in the place of every combination."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.cli.common import say

if TYPE_CHECKING:
    from lab.cli.grid import Combination
    from lab.runs.sweep import State

Runs = Callable[[Sequence["Combination"]], "list[State]"]


def descend(
    chosen: Sequence[Combination], passes: int, run: Runs, out: Path
) -> tuple[list[Combination], list[State], list[float]]:
    """The trials of a descent in their order: combinations, the states of their runs, and the
    held-out loss of each, mean over its seeds; infinite where a run failed.

    chosen: every combination of the grid, the last option varying fastest. run: makes the runs.
    """
    from lab.runs.descent import Point, coordinate_descent

    sizes = [len({c.texts[path] for c in chosen}) for path in chosen[0].texts]
    states: list[State] = []

    def numbered(point: Point) -> Combination:
        number = 0
        for i, size in zip(point, sizes, strict=True):
            number = number * size + i
        return chosen[number]

    def measure(points: list[Point]) -> list[float]:
        tried = [numbered(point) for point in points]
        states.extend(run(tried))
        return [_loss(combination, out) for combination in tried]

    trials = coordinate_descent(sizes, measure, passes)
    return [numbered(point) for point in trials], states, list(trials.values())


def _loss(combination: Combination, out: Path) -> float:
    from lab.analysis.held_out import held_out_loss
    from lab.config.trust import Trusted, mixer_files
    from lab.results.folder import Folder

    losses = []
    for e in combination.experiments:
        folder = Folder(out, e)
        if not folder.result.exists():
            return math.inf
        own = Trusted(type(e.task) if e.source else None, frozenset(mixer_files(e.model.layers)))
        losses.append(held_out_loss(folder.path, trusted=own))
    return sum(losses) / len(losses)


def as_json(tried: Sequence[Combination], losses: Sequence[float]) -> list[dict[str, Any]]:
    """The trials of a descent; the loss of one that failed is null."""
    known = [None if math.isinf(loss) else loss for loss in losses]
    return [{"grid": c.values, "loss": loss} for c, loss in zip(tried, known, strict=True)]


def say_descent(tried: Sequence[Combination], losses: Sequence[float], every: int) -> None:
    """The losses of a descent in the order of its trials, and where it ended."""
    say("Coordinate descent by the held-out loss, in nats a token:")
    for combination, loss in zip(tried, losses, strict=True):
        say(f"  {combination.label}: {loss:.4f}")
    best = min(range(len(losses)), key=losses.__getitem__)
    say(f"Best of {len(tried)} trials, of {every} combinations: {tried[best].label}")
