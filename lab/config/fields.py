"""Fields of a configuration: set from text, as options and --set give it, and checked."""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Any, Literal

from tasks import refuse


def set_field(part: Any, name: str, text: str, path: str) -> Any:
    """A copy of a frozen dataclass with one field set from text."""
    hints = typing.get_type_hints(type(part))
    known = [f.name for f in dataclasses.fields(part)]
    if name not in known:
        raise refuse("--set", path, f"its fields are {', '.join(known)}")
    return dataclasses.replace(part, **{name: parse(text, hints[name], path)})


def parse(text: str, hint: Any, path: str) -> Any:
    """A value of the annotated type from text: 3, 0.1, true, none, a choice, 1,2,3 or 1..4."""
    options = typing.get_args(hint) if _is_union(hint) else (hint,)
    for option in options:
        try:
            return _parse_one(text, option)
        except ValueError:
            continue
    raise refuse(path, text, f"a value of type {_spelled(hint)} is needed")


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (typing.Union, types.UnionType)


def _parse_one(text: str, hint: Any) -> Any:
    origin = typing.get_origin(hint)
    if hint is type(None) and text.lower() == "none":
        return None
    if hint is bool and text.lower() in ("true", "false", "yes", "no", "1", "0"):
        return text.lower() in ("true", "yes", "1")
    if origin is Literal:
        for value in typing.get_args(hint):
            if str(value) == text:
                return value
    if origin is tuple:
        kinds = typing.get_args(hint)
        inner = text.strip("()[]")
        none = kinds[-1] is Ellipsis and inner.lower() in ("", "none")
        parts = [] if none else inner.split(",")
        if kinds[-1] is not Ellipsis and len(kinds) != len(parts):
            raise ValueError(text)
        each = kinds if kinds[-1] is not Ellipsis else (kinds[0],) * len(parts)
        spread = [_range(p) if k is int else [p] for p, k in zip(parts, each, strict=True)]
        return tuple(_parse_one(str(v).strip(), each[0]) for values in spread for v in values)
    if hint in (int, float, str):
        return hint(text)
    raise ValueError(text)


def _range(text: str) -> list[Any]:
    low, dots, high = text.partition("..")
    return list(range(int(low), int(high) + 1)) if dots else [text]


def _spelled(hint: Any) -> str:
    if typing.get_origin(hint) is Literal:
        return "one of " + ", ".join(map(str, typing.get_args(hint)))
    if _is_union(hint):
        return " or ".join(_spelled(h) for h in typing.get_args(hint))
    if hint is type(None):
        return "none"
    return hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint)


def default(config: Any, name: str) -> Any:
    return type(config).__dataclass_fields__[name].default


def choices(config: Any, prefix: str) -> None:
    for name, hint in typing.get_type_hints(type(config)).items():
        if typing.get_origin(hint) is Literal:
            allowed = typing.get_args(hint)
            if getattr(config, name) not in allowed:
                says = f"one of {', '.join(map(str, allowed))}"
                raise refuse(prefix + name, getattr(config, name), says)


def at_least(config: Any, prefix: str, name: str, least: float) -> None:
    if not getattr(config, name) >= least:
        raise refuse(prefix + name, getattr(config, name), f"at least {least}")
