"""Runs every property of the task contract on one task."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from lab.errors import user_line
from lab.testing.blocks import blocks_are_solved, length_matters
from lab.testing.independence import rows_are_independent
from lab.testing.prompts import malformed_prompts_are_refused
from lab.testing.properties import ROW_PROPERTIES, repeatable, solved, well_formed
from lab.testing.shortcuts import unguessable
from lab.testing.speed import speed
from lab.testing.statistics import STATISTICS, random_access
from lab.testing.strategies import seeds, valid_lengths
from tasks import Task

RowProperty = Callable[[Task, int, int, int], None]
Statistic = Callable[[Task, list[int]], str | None]
_Result = tuple[str | None, str | None]  # what broke, and a note
_CASE = re.compile(r"^seed \d+, \d+ rows of length \d+: ")

# Properties of many rows, each with the property of rows that it builds on: where that one fails,
# this one would report the same cause again and is not tried.
_STATISTICS: tuple[tuple[Statistic, RowProperty], ...] = (
    *((check, repeatable if check is random_access else well_formed) for check in STATISTICS),
    (blocks_are_solved, solved),
    (length_matters, well_formed),
    (rows_are_independent, repeatable),
    (malformed_prompts_are_refused, solved),
    (unguessable, well_formed),
    (speed, well_formed),
)


class Finding(NamedTuple):
    """The result for one property of a task.

    broken: what broke it; None: it holds. note: what else is worth knowing. tried: False where a
    property that this one builds on is broken.
    """

    name: str
    broken: str | None
    note: str | None = None
    tried: bool = True


def findings(
    task: Task, examples: int = 200, derandomize: bool = True, statistics: bool = True
) -> Iterator[Finding]:
    """Check every property and yield the results one by one. One cause is reported once.

    examples: Hypothesis cases for the properties of rows.
    derandomize: the same cases at every call; False: new random cases.
    statistics: check the properties of many rows together too, on a fixed number of rows.
    """
    allowed = valid_lengths(task)
    broken = _row_properties(task, allowed, examples, derandomize)
    causes: set[str] = set()

    def finding(
        check: Callable[..., Any], base: RowProperty, run: Callable[[], _Result]
    ) -> Finding:
        if check is not base and base in broken:
            return Finding(_title(check), None, tried=False)
        message, note = run()
        cause = _CASE.sub("", message or "")
        if message and cause in causes:
            return Finding(_title(check), None, tried=False)
        causes.add(cause)
        return Finding(_title(check), message, note)

    for prop in ROW_PROPERTIES:
        yield finding(prop, well_formed, lambda: (broken.get(prop), None))  # noqa: B023
    for check, base in _STATISTICS if statistics else ():
        if well_formed in broken:
            base = well_formed
        yield finding(check, base, lambda: _result(check, task, allowed))  # noqa: B023


def check_task(
    task: Task, examples: int = 200, derandomize: bool = True, statistics: bool = True
) -> None:
    """Check every property like `findings`; AssertionError names those that fail, with a case."""
    results = findings(task, examples, derandomize, statistics)
    broken = [f"{f.name}: {f.broken}" for f in results if f.broken]
    if broken:
        raise AssertionError(f"{task} breaks its contract\n  " + "\n  ".join(broken))


def _title(function: Callable[..., Any]) -> str:
    """The first line of the docstring: what `lab check` prints."""
    return (function.__doc__ or function.__name__).strip().partition("\n")[0].rstrip(".")


def _result(function: Callable[..., str | None], *args: Any) -> _Result:
    """What the function raises, in words, or None; and the note that it returns."""
    try:
        return None, function(*args)
    except AssertionError as error:
        return str(error), None
    except Exception as error:
        return user_line(error), None


def _row_properties(
    task: Task, allowed: list[int], examples: int, derandomize: bool
) -> dict[RowProperty, str]:
    """The properties of rows that fail, each with its smallest case. All are tried on the same
    rows; then each that failed is tried alone, to make its case smaller."""
    broken: dict[RowProperty, str] = {}

    def every(task: Task, seed: int, n: int, length: int) -> None:
        for prop in ROW_PROPERTIES:
            if prop not in broken:
                try:
                    prop(task, seed, n, length)
                except Exception as error:
                    broken[prop] = _case(seed, n, length, error)

    _hypothesis(every, task, allowed, examples, derandomize)
    for prop in broken:
        broken[prop] = _hypothesis(prop, task, allowed, examples, derandomize) or broken[prop]
    return broken


def _case(seed: int, n: int, length: int, error: Exception) -> str:
    text = str(error) if isinstance(error, AssertionError) else user_line(error)
    return f"seed {seed}, {n} rows of length {length}: {text}"


def _hypothesis(
    prop: RowProperty, task: Task, allowed: list[int], examples: int, derandomize: bool
) -> str | None:
    @settings(
        max_examples=examples,
        derandomize=derandomize,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        print_blob=False,  # the message below names the case
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    @given(length=st.sampled_from(allowed), n=st.integers(1, 6), seed=seeds)
    def run(length: int, n: int, seed: int) -> None:
        try:
            prop(task, seed, n, length)
        except Exception as error:
            raise AssertionError(_case(seed, n, length, error)) from None

    return _result(run)[0]
