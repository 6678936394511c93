"""Values from JSON, checked against the types of a dataclass: nothing is converted or guessed.

    build(TrainConfig, {"steps": "300"}, "train")
    ValueError: train.steps = '300' cannot be used: expected int, got str

A whole number may stand where a float is needed, and a list where a tuple is; every other mismatch,
an unknown field and a missing one are refused under their path. msgspec checks the types; values
stay as they are, so that 4 is not written back as 4.0 and a run keeps its hash.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import typing
from collections.abc import Collection, Mapping
from typing import Any, Literal, TypeVar

from lab.config.fields import describe
from tasks import refuse

T = TypeVar("T")

_hints = functools.cache(typing.get_type_hints)  # slow: it compiles every annotation


def build(cls: type[T], values: Any, where: str) -> T:
    """The dataclass whose fields these are. where: path of the values, for errors.

    ValueError for a value of another type, an unknown field, a missing one, and whatever the class
    itself refuses.
    """
    fields: tuple[dataclasses.Field[Any], ...] = dataclasses.fields(cls)  # type: ignore[arg-type]
    missing = (dataclasses.MISSING, dataclasses.MISSING)
    needed = [f.name for f in fields if (f.default, f.default_factory) == missing]
    check_keys(values, [f.name for f in fields], needed, where)
    return cls(**typed(cls, values, where))


def stored(config: Any) -> dict[str, Any]:
    """The fields of a dataclass as an experiment's JSON has them: all, but late ones that have
    their default (lab.config.fields.Field)."""
    late = {info.name: info.default for info in describe(type(config)) if info.field.late}
    return {k: v for k, v in vars(config).items() if k not in late or v != late[k]}


def typed(cls: type, values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The values of some fields of a dataclass, checked; a list becomes a tuple for a tuple field.

    ValueError for a value of another type and for a field that the class does not have.
    """
    hints = _hints(cls)
    names = [f.name for f in dataclasses.fields(cls)]
    check_keys(values, names, (), where)
    return {name: _typed(value, hints[name], f"{where}.{name}") for name, value in values.items()}


def check_keys(values: Any, known: Collection[str], needed: Collection[str], where: str) -> None:
    """ValueError when the values are no JSON object, have an unknown key or lack a needed one."""
    check(values, dict[str, Any], where)
    dot = f"{where}." if where else ""
    for name in values:
        if name not in known:
            allowed = f"there is no such field; its fields are {', '.join(sorted(known))}"
            raise refuse(f"{dot}{name}", values[name], allowed)
    for name in needed:
        if name not in values:
            raise ValueError(f"{dot}{name} is missing")


def check(value: Any, kind: Any, where: str) -> None:
    """ValueError, with the path, when a JSON value is not of an annotated type."""
    import msgspec

    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:  # its path has [...] for any key of a plain object
        problem, _, path = str(error).rstrip("`").partition(" - at `$")
        if typing.get_origin(kind) is Literal:
            problem = f"one of {', '.join(map(str, typing.get_args(kind)))}"
        text = problem.replace("`", "").replace("Expected", "expected")
        full = f"{where}{path}".lstrip(".") or "configuration"
        if "[...]" in path:
            raise ValueError(f"{full} cannot be used: {text}") from None
        raise refuse(full, _at(value, path), text) from None


def _at(value: Any, path: str) -> Any:
    """The part of a JSON value that a path of msgspec's means, such as .scores[0].exact."""
    for name, index in re.findall(r"\.([^.\[]+)|\[(\d+)\]", path):
        value = value[name] if name else value[int(index)]
    return value


def _typed(value: Any, hint: Any, where: str) -> Any:
    check(value, hint, where)
    kinds = [hint, *typing.get_args(hint)]
    if isinstance(value, list) and any(typing.get_origin(kind) is tuple for kind in kinds):
        return tuple(value)
    return value
