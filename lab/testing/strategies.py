"""Hypothesis strategies for tests of tasks: seeds, lengths and options."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from lab.errors import user_line
from tasks import Task, draw

seeds = st.integers(0, 2**32 - 1)


def valid_lengths(task: Task, longest: int = 40) -> list[int]:
    """The lengths from 1 to `longest` that the task can make; it refuses the others.

    AssertionError if there is none, or if `sample` raises anything but ValueError or returns
    anything but a Batch.
    """
    valid, refusal = [], None
    for length in range(1, longest + 1):
        try:
            draw(task, np.random.default_rng(0), 1, length)
        except ValueError as error:
            refusal = error
            continue
        except Exception as error:
            message = f"length {length}: sample raises {user_line(error)}"
            raise AssertionError(message) from error
        valid.append(length)
    if not valid:
        last = user_line(refusal) if refusal else ""
        message = f"{task} makes no row of any length from 1 to {longest}; the last refusal: {last}"
        raise AssertionError(message)
    return valid


def lengths(task: Task, longest: int = 40) -> st.SearchStrategy[int]:
    """A strategy for the lengths from 1 to `longest` that the task can make."""
    return st.sampled_from(valid_lengths(task, longest))


def options(cls: type[Task]) -> st.SearchStrategy[Task]:
    """A strategy for instances of a task: each option near its default or one of its choices."""
    hints = typing.get_type_hints(cls)  # the plain types: Annotated help texts are dropped
    fields = {f.name: _values(hints[f.name], f.default) for f in dataclasses.fields(cls)}  # type: ignore[arg-type]

    @st.composite
    def build(draw: Callable[..., Any]) -> Task:
        chosen = {name: draw(values) for name, values in fields.items()}
        try:
            return cls(**chosen)
        except ValueError:
            assume(False)
            raise

    return build()


def _values(hint: Any, default: Any) -> st.SearchStrategy[Any]:
    if typing.get_origin(hint) is Literal:
        return st.sampled_from(typing.get_args(hint))
    if isinstance(default, bool):
        return st.booleans()
    if isinstance(default, int):
        return st.just(default) | st.integers(max(0, default - 3), default + 3)
    if isinstance(default, float):
        hundredths = st.integers(0, 100).map(lambda i: i / 100)  # rarer events are never seen
        return st.just(default) | hundredths
    return st.just(default)
