"""The grid of `lab sweep`: --grid PATH=VALUES, each combination an experiment for every seed.

PATH is an option of the experiment (k, length), a field of model or train by its plain name (lr,
width), or a path of --set (task.k, train.lr, cot). VALUES are separated by commas; a..b is a range
of whole numbers. If VALUES contain a semicolon, semicolons separate them and commas belong to a
value: lengths=1..4;1..8, layers=mamba*7,attention;attention*8.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lab.cli.experiment import MOST
from lab.cli.options import build, check_once, set_paths
from lab.config import Experiment
from lab.config.experiment import with_seeds
from lab.config.fields import describe, parse, split_assignment
from lab.data.position_ids import check_rows
from lab.errors import in_words
from lab.experiments._make import PARTS, option_types
from tasks import refuse


@dataclass(frozen=True)
class Axis:
    """One --grid: its path, the values as texts and what they mean."""

    path: str
    texts: tuple[str, ...]
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Combination:
    """One value of every axis, and the experiments with these values, one for each seed."""

    texts: dict[str, str]
    values: dict[str, Any]
    experiments: tuple[Experiment, ...]

    @property
    def label(self) -> str:
        return " ".join(f"{path}={text}" for path, text in self.texts.items())


def combinations(function: Callable[..., Experiment], given: dict[str, Any]) -> list[Combination]:
    """Every combination of given["grids"], built and checked.

    ValueError names the combination that cannot be used, or two that are the same run.
    """
    axes = [axis(function, text) for text in given["grids"]]
    size = 1
    grids = [(f"--grid {text}", one.path) for text, one in zip(given["grids"], axes, strict=True)]
    check_once(function, given, [*set_paths(given["sets"]), *grids])
    for one in axes:
        size *= len(one.texts)
    if size > MOST:
        raise refuse("--grid", f"{size} combinations", f"at most {MOST}")
    chosen = []
    seen: dict[str, str] = {}
    for choice in itertools.product(*(range(len(one.texts)) for one in axes)):
        texts = {one.path: one.texts[i] for one, i in zip(axes, choice, strict=True)}
        values = {one.path: one.values[i] for one, i in zip(axes, choice, strict=True)}
        label = Combination(texts, values, ()).label
        try:
            base = check_rows(_build(function, given, texts))
        except ValueError as error:
            raise ValueError(f"{label}: {in_words(error)}") from None
        if base.slug in seen:
            raise refuse("--grid", label, f"it is the same run as {seen[base.slug]}")
        seen[base.slug] = label
        chosen.append(Combination(texts, values, tuple(with_seeds(base, given["seeds"]))))
    return chosen


def axis(function: Callable[..., Experiment], text: str) -> Axis:
    """One --grid from its text."""
    path, values = split_assignment(text, "--grid", "task.k=1..4")
    path = path.replace("-", "_")
    if path in ("seed", "train.seed"):
        raise refuse("--grid", text, "--seeds gives every combination its seeds")
    hint = kind(function, path)
    texts = spread(path, values, hint)
    meant = tuple(parse(value, hint, path) for value in texts)
    for number, value in enumerate(meant):
        if value in meant[:number]:
            raise refuse("--grid", text, f"{texts[number]} is given twice")
    return Axis(path, texts, meant)


def kind(function: Callable[..., Experiment], path: str) -> Any:
    """The type of what a path of the grid sets."""
    plain = {"cot": bool, **option_types(function)}
    head, _, leaf = path.partition(".")
    parts = {**PARTS, "task": type(function().task)}
    if not leaf and path in plain:
        return plain[path]
    if head in parts:
        fields = {f.name for f in dataclasses.fields(parts[head])}
        if leaf in fields:
            return typing.get_type_hints(parts[head])[leaf]
        raise refuse("--grid", path, f"the fields of {head} are {', '.join(sorted(fields))}")
    own = ", ".join(info.name for info in describe(function))
    allowed = f"an option ({own}), a field of model or train, or a path such as task.k"
    raise refuse("--grid", path, allowed)


def spread(path: str, text: str, hint: Any) -> tuple[str, ...]:
    """The values of an axis as texts: "1..3,5" is 1 2 3 5."""
    kinds = {hint, *typing.get_args(hint)}
    listed = any(typing.get_origin(k) is tuple for k in kinds)
    if ";" in text:
        parts = [part.strip() for part in text.removesuffix(";").split(";")]
    elif listed and ("," in text or ".." in text):
        raise refuse("--grid", f"{path}={text}", "separate lists by semicolons, such as 1..4;1..8")
    else:
        parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise refuse("--grid", f"{path}={text}", "a value is missing")
    if listed or not kinds & {int, float}:
        return tuple(parts)
    return tuple(value for part in parts for value in _range(path, part))


def _range(path: str, text: str) -> Sequence[str]:
    ends = re.fullmatch(r"(-?\d+)\.\.(-?\d+)", text)
    if not ends:
        return [text]
    low, high = map(int, ends.groups())
    if not low <= high < low + MOST:
        raise refuse("--grid", f"{path}={text}", f"a..b goes up, by at most {MOST} values")
    return [str(value) for value in range(low, high + 1)]


def _build(
    function: Callable[..., Experiment], given: dict[str, Any], texts: dict[str, str]
) -> Experiment:
    options = option_types(function)
    named = {path: text for path, text in texts.items() if path in options}
    others = [f"{path}={text}" for path, text in texts.items() if path not in options]
    return build(function, {**given, **named}, [*given["sets"], *others])
