"""Parts of a mixture as text.

    parity k=2 length=10; copy weight=2     of three rows two are strings to copy

A part is a task with its options. `weight` and `length` are those of the part in the mixture: how
often its rows are drawn, and their length where it is not that of the mixture. A part has the name
of its task, with a number where several parts are of one task: parity1, parity2.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import tasks

if TYPE_CHECKING:
    from tasks import Task

LARGEST = 2**16  # of whole numbers, as of the options of a run's own task
_SEEDS = ("secret", "seed")  # which only choose rows
_BOOLS = {"true": True, "false": False}
_WORDS = {int: "a whole number", float: "a number", bool: "true or false", type(None): "none"}


class Part(NamedTuple):
    """task: with the split of the mixture. length: of its rows; None for that of the mixture."""

    name: str
    task: Task
    weight: int
    length: int | None

    def at(self, length: int) -> int:
        """The length of its rows in a mixture of this length."""
        return length if self.length is None else self.length


def canonical(text: str) -> str:
    """The same parts with one space and one separator between what belongs together."""
    parts = (" ".join(part.split()) for part in text.split(";"))
    return "; ".join(part for part in parts if part)


@lru_cache(256)
def read(text: str, test: bool) -> tuple[Part, ...]:
    """The parts that a canonical text names; test: with their held-out rows, the last split of
    each. ValueError, in words, for a text that names none, and for what a task refuses."""
    if not text:
        example = "tasks with their options, such as: parity k=2; copy weight=2"
        raise tasks.refuse("parts", text, example)
    options = [_options(part) for part in text.split("; ")]
    of_task, seen = Counter(name for name, _ in options), Counter[str]()
    parts = []
    for name, values in options:
        seen[name] += 1
        label = name if of_task[name] == 1 else f"{name}{seen[name]}"
        weight, length = values.pop("weight", 1), values.pop("length", None)
        task = tasks.load(name)(**values)
        split = task.splits()[-1 if test else 0]
        part = dataclasses.replace(task, split=split)  # type: ignore[type-var]
        parts.append(Part(label, part, weight, length))
    return tuple(parts)


def _options(text: str) -> tuple[str, dict[str, Any]]:
    """The name of a task, and the values of the options, of "parity k=2"."""
    name, *assignments = text.split(" ")
    known = [other for other in tasks.names() if other != "mixture"]
    if name not in known:
        raise tasks.refuse("parts", name, f"the tasks of a mixture are {', '.join(known)}")
    kinds = {**typing.get_type_hints(tasks.load(name)), "weight": int, "length": int}
    del kinds["split"]  # it is that of the mixture
    values: dict[str, Any] = {}
    for assignment in assignments:
        option, equals, value = assignment.partition("=")
        if not equals or option not in kinds or option in values:
            allowed = f"{name} has OPTION=VALUE, once each, with the options {', '.join(kinds)}"
            raise tasks.refuse("parts", assignment, allowed)
        try:
            values[option] = _value(value, kinds[option])
        except (ValueError, KeyError):
            raise tasks.refuse(f"{name} {option}", value, _in_words(kinds[option])) from None
        least = 1 if option in ("weight", "length") else None
        _check_size(f"{name} {option}", values[option], option in _SEEDS, least)
    return name, values


def _check_size(option: str, value: Any, seed: bool, least: int | None) -> None:
    """Refuse a whole number above LARGEST, or below the least one."""
    if not isinstance(value, int):
        return
    if (value > LARGEST and not seed) or (least is not None and value < least):
        start = f"from {least} to" if least else "at most"
        raise tasks.refuse(option, value, f"{start} {LARGEST:,}")


def _value(text: str, kind: Any) -> Any:
    """A value of an annotated type. ValueError or KeyError for a text that is none."""
    origin, kinds = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return {str(value): value for value in kinds}[text]
    if origin is tuple:
        return tuple(_value(part, kinds[0]) for part in text.split(","))
    if origin in (typing.Union, types.UnionType):
        return _first_fit(text, kinds)
    if kind is type(None):
        return {"none": None}[text]
    value = _BOOLS[text] if kind is bool else kind(text)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(text)
    return value


def _in_words(kind: Any) -> str:
    """The values that an annotated type allows."""
    origin, kinds = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return f"one of {', '.join(map(str, kinds))}"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(_in_words, kinds))
    return _WORDS.get(kind, "whole numbers separated by commas")


def _first_fit(text: str, kinds: tuple[Any, ...]) -> Any:
    for kind in kinds:
        try:
            return _value(text, kind)
        except (ValueError, KeyError):
            continue
    raise ValueError(text)
