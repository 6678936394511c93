"""What the log of a run says of single steps, and of the steps of objectives that sample.

A log may come from anywhere: what is no row of a step is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from lab.results.reader import exists, read_rows
from lab.results.result import Result


class Ends(NamedTuple):
    """The mean of a logged number over the first and the last tenth of the steps."""

    first: float
    last: float


def of_steps(result: Result, name: str) -> Iterator[tuple[int, float]]:
    """(rows seen, value) of a run's log, up to its first damaged line. ValueError for a log that is
    no regular file, or too large."""
    path = Path(result.run) / "metrics.jsonl"
    for row in read_rows(path) if exists(path) else ():
        rows, value = row.get("rows"), row.get(name)
        if "scores" not in row and isinstance(value, int | float) and type(rows) is int:
            yield rows, value


def ends(results: Sequence[Result], name: str) -> Ends | None:
    """The `Ends` of a number, mean over runs; None where some run has not logged it."""
    told = []
    for result in results:
        values = [value for _, value in of_steps(result, name)]
        if not values:
            return None
        tenth = max(1, len(values) // 10)
        told.append((sum(values[:tenth]) / tenth, sum(values[-tenth:]) / tenth))
    first, last = (sum(part) / len(told) for part in zip(*told, strict=True))
    return Ends(first, last)


def samples(result: Result) -> int | None:
    """Completions of a prompt, of a run whose objective samples them; None for others."""
    from lab.config.reinforcement import OF, Reinforcement

    train = result.experiment["train"]
    if "samples" not in OF[train.get("objective", "next_token")]:
        return None
    return int(train.get("samples", Reinforcement.samples))


def largest_pass(result: Result) -> str | None:
    """The largest k of Pass@k that a run has logged, as its name in the log: "pass@8"."""
    number = samples(result)
    return None if number is None else f"pass@{1 << (number.bit_length() - 1)}"
