"""Runs every property of the task contract on one task."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from lab.testing.properties import ROW_PROPERTIES
from lab.testing.statistics import STATISTICS
from lab.testing.strategies import seeds, valid_lengths
from tasks import Task


class Finding(NamedTuple):
    """The result for one property of a task: its title, and what broke it (None: it holds)."""

    name: str
    broken: str | None


def findings(
    task: Task, examples: int = 200, derandomize: bool = True, statistics: bool = True
) -> Iterator[Finding]:
    """Check every property and yield the results one by one.

    examples: Hypothesis cases for each property of rows.
    derandomize: the same cases at every call; False: new random cases.
    statistics: check the properties of many rows together too, on a fixed number of rows.
    """
    allowed = valid_lengths(task)
    for prop in ROW_PROPERTIES:
        yield Finding(_title(prop), _hypothesis(prop, task, allowed, examples, derandomize))
    for check in STATISTICS if statistics else ():
        yield Finding(_title(check), _message(check, task, allowed))


def check_task(
    task: Task, examples: int = 200, derandomize: bool = True, statistics: bool = True
) -> None:
    """Check every property like `findings`; AssertionError names those that fail, with a case."""
    results = findings(task, examples, derandomize, statistics)
    broken = [f"{f.name}: {f.broken}" for f in results if f.broken]
    if broken:
        raise AssertionError(f"{task} breaks its contract\n  " + "\n  ".join(broken))


def _title(function: Callable[..., None]) -> str:
    """The first sentence of the docstring: what `lab check` prints."""
    return (function.__doc__ or function.__name__).strip().rstrip(".")


def _message(function: Callable[..., None], *args: Any) -> str | None:
    """What the function raises, in words; None if it raises nothing."""
    try:
        function(*args)
    except AssertionError as error:
        return str(error)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


def _hypothesis(
    prop: Callable[[Task, int, int, int], None],
    task: Task,
    allowed: list[int],
    examples: int,
    derandomize: bool,
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
    @given(seed=seeds, n=st.integers(1, 6), length=st.sampled_from(allowed))
    def run(seed: int, n: int, length: int) -> None:
        try:
            prop(task, seed, n, length)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, {n} rows of length {length}: {error}") from None

    return _message(run)
