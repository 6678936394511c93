"""Runs as a table: one row for each run and probe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from lab.results.groups import settings
from lab.results.result import Result

if TYPE_CHECKING:
    from pandas import DataFrame


def rows(results: Sequence[Result]) -> Iterator[dict[str, Any]]:
    """Settings and score of each run and probe, in the order of the results. Lists become tuples,
    so that rows can be grouped by them; the experiment's probes themselves are left out."""
    for result in results:
        run = {"run": result.run, "steps": result.steps, "seconds": result.seconds}
        flat = {path: value for path, value in settings(result).items() if path != "probes"}
        flat = {path: tuple(v) if isinstance(v, list) else v for path, v in flat.items()}
        for score in result.scores:
            yield {**run, **flat, **asdict(score)}


def frame(results: Sequence[Result]) -> DataFrame:
    """The rows as a pandas DataFrame. ModuleNotFoundError without pandas."""
    try:
        import pandas
    except ModuleNotFoundError:
        command = "pip install 'synthetic-reasoning-lab[notebooks]'"
        raise ModuleNotFoundError(f"lab.frame needs pandas: {command}") from None
    return pandas.DataFrame(rows(results))
