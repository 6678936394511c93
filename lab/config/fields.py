"""Fields of a configuration: described in one place, checked, and set from text.

    lr: Annotated[float, Field("peak learning rate", low=0)] = 1e-3

`describe` reads such annotations. --help, errors, completion and reports all take the type, range,
unit, default and help of an option from there. A plain string in Annotated is a help text.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
import re
import types
import typing
from collections.abc import Callable
from typing import Any, Literal

from tasks import refuse

LARGEST = 2**53  # from here on not every whole number is a float


@dataclasses.dataclass(frozen=True)
class Field:
    """What stands at a field besides its type and default.

    help: one sentence. unit: what the number counts. low, high: the range of a number, or of every
    number of a tuple; an open end is excluded. common: `--help` shows it without --help-all. late:
    it came after runs were kept, whose hashes stay: its default does not stand in the JSON.
    """

    help: str
    unit: str | None = None
    low: float | None = None
    high: float | None = None
    low_open: bool = False
    high_open: bool = False
    common: bool = False
    late: bool = False

    @property
    def range(self) -> str:
        """The range in words, such as "from 0 to below 1"; empty without one."""
        if self.low is None:
            top = "below" if self.high_open else "at most"
            return "" if self.high is None else f"{top} {self.high:g}"
        if self.high is None:
            return f"{'above' if self.low_open else 'at least'} {self.low:g}"
        start = f"above {self.low:g}, up to" if self.low_open else f"from {self.low:g} to"
        return f"{start} {'below ' if self.high_open else ''}{self.high:g}"

    def contains(self, value: float) -> bool:
        """Whether a number is in the range; NaN never is."""
        above = self.low is None or (value > self.low if self.low_open else value >= self.low)
        below = self.high is None or (value < self.high if self.high_open else value <= self.high)
        return above and below and value == value


@dataclasses.dataclass(frozen=True)
class FieldInfo:
    """One option: what its annotation, its default and its help text say.

    default is dataclasses.MISSING where there is none; range is in words; choices are the values of
    a Literal, without none.
    """

    name: str
    type: Any
    default: Any
    help: str
    unit: str | None
    range: str
    choices: tuple[Any, ...]
    common: bool
    field: Field


def describe(source: type | Callable[..., Any]) -> tuple[FieldInfo, ...]:
    """The options of a dataclass, or the parameters of a function, in their order.

    A function may give the help of a parameter by a line "name: text" of its docstring. ValueError
    for a parameter without a type.
    """
    return _described(source)


@functools.cache  # every configuration that is made is checked by it
def _described(source: Any) -> tuple[FieldInfo, ...]:
    kinds = typing.get_type_hints(source)
    annotated = typing.get_type_hints(source, include_extras=True)
    defaults: dict[str, Any]
    if isinstance(source, type):
        defaults = {f.name: _default_of(f) for f in dataclasses.fields(source)}
        lines: dict[str, str] = {}
    else:
        empty = inspect.Parameter.empty
        parameters = inspect.signature(source).parameters.values()
        defaults = {
            p.name: dataclasses.MISSING if p.default is empty else p.default for p in parameters
        }
        lines = _doc_lines(inspect.getdoc(source) or "")
    infos = []
    for name, default in defaults.items():
        if name not in kinds:
            where = getattr(source, "__name__", "it")
            raise refuse("parameter", name, f"{where} must give it a type, such as {name}: int = 8")
        field = _field_of(annotated[name], lines.get(name, ""))
        infos.append(
            FieldInfo(
                name,
                kinds[name],
                default,
                field.help,
                field.unit,
                field.range,
                _choices_of(kinds[name]),
                field.common,
                field,
            )
        )
    return tuple(infos)


def check(config: Any, prefix: str) -> None:
    """ValueError for the first field with a value that its type, choices or range exclude, or with
    a number that is not finite."""
    source: Any = type(config)
    for info, origin, none in _kinds(source):
        value = getattr(config, info.name)
        if origin is Literal and value not in info.choices:
            raise refuse(prefix + info.name, value, f"one of {', '.join(map(str, info.choices))}")
        several = origin is tuple
        if (value is None and not none) or isinstance(value, tuple) != several:
            raise refuse(prefix + info.name, value, f"it must be {in_words(info.type)}")
        for one in value if several else () if value is None else (value,):
            if _is_excessive(one):
                raise refuse(prefix + info.name, value, "a finite number, a whole one below 2^53")
            if info.range and not info.field.contains(one):
                words = ("none, or a number " if none else "") + ("each " if several else "")
                raise refuse(prefix + info.name, value, words + info.range)


def _is_excessive(value: object) -> bool:
    large = isinstance(value, int) and abs(value) >= LARGEST
    return large or (isinstance(value, float) and not math.isfinite(value))


@functools.cache
def _kinds(source: type) -> tuple[tuple[FieldInfo, Any, bool], ...]:
    """Every field with the origin of its type, and whether the type allows None."""
    return tuple(
        (info, typing.get_origin(info.type), type(None) in _alternatives(info.type))
        for info in describe(source)
    )


def at_least(config: Any, prefix: str, name: str, least: float) -> None:
    """ValueError when a field is below `least`."""
    if not getattr(config, name) >= least:
        raise refuse(prefix + name, getattr(config, name), f"at least {least}")


def default(config: Any, name: str) -> Any:
    """The default value of a field of a dataclass instance."""
    return type(config).__dataclass_fields__[name].default


def split_assignment(text: str, option: str, example: str) -> tuple[str, str]:
    """(path, value) of "PATH=VALUE", spaces around both removed.

    ValueError names the option and shows the example. The value may contain "=" and may be empty.
    """
    path, equals, value = (part.strip() for part in text.partition("="))
    if not equals or not path:
        raise refuse(option, text, f"it needs the form PATH=VALUE, such as {example}")
    return path, value


def set_field(part: Any, name: str, text: str, path: str) -> Any:
    """A copy of a frozen dataclass with one field set from text."""
    hints = typing.get_type_hints(type(part))
    known = [f.name for f in dataclasses.fields(part)]
    if name not in known:
        raise refuse("--set", path, f"its fields are {', '.join(known)}")
    return dataclasses.replace(part, **{name: parse(text, hints[name], path)})


def parse(text: str, hint: Any, path: str) -> Any:
    """A value of the annotated type from text: 3, 0.1, true, none, a choice, 1,2,3 or 1..4."""
    for low, high in re.findall(r"(\d+)\.\.(\d+)", text):
        if int(high) - int(low) > 10**5:
            raise refuse(path, text, "a range has at most 100,000 values")
    for option in _alternatives(hint):
        try:
            return _parse_one(text, option)
        except ValueError:
            continue
    raise refuse(path, text, f"it must be {in_words(hint)}")


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of the annotated type; a whole number is also a float."""
    for kind in _alternatives(hint):
        if typing.get_origin(kind) is Literal:
            matches = value in typing.get_args(kind) and not isinstance(value, bool)
        elif typing.get_origin(kind) is tuple:
            parts = typing.get_args(kind)
            matches = isinstance(value, tuple) and all(fits(one, parts[0]) for one in value)
            matches = matches and (parts[-1] is Ellipsis or len(parts) == len(value))
        elif kind in (int, float):
            numbers = (int,) if kind is int else (int, float)
            matches = isinstance(value, numbers) and not isinstance(value, bool)
        elif isinstance(kind, type):
            matches = isinstance(value, kind)
        else:  # nothing that options are made of
            matches = True
        if matches:
            return True
    return False


def in_words(hint: Any) -> str:
    """The values that an annotated type allows, such as "a whole number or none"."""
    if typing.get_origin(hint) is Literal:
        return "one of " + ", ".join(map(str, typing.get_args(hint)))
    if len(_alternatives(hint)) > 1:
        return " or ".join(in_words(kind) for kind in typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        kind, *rest = typing.get_args(hint)
        count = "" if Ellipsis in rest else f"{len(rest) + 1} "
        what = {int: "whole numbers", str: "texts"}.get(kind, "numbers")
        return f"{count}{what} separated by commas"
    words = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
    return words.get(hint, "none" if hint is type(None) else getattr(hint, "__name__", str(hint)))


def _default_of(field: dataclasses.Field[Any]) -> Any:
    factory = field.default_factory
    return field.default if factory is dataclasses.MISSING else factory()


def _field_of(annotation: Any, line: str) -> Field:
    """The Field of an annotation, or one made of a plain help text."""
    for extra in getattr(annotation, "__metadata__", ()):
        if isinstance(extra, Field):
            return extra
        if isinstance(extra, str):
            return Field(extra)
    return Field(line)


def _choices_of(hint: Any) -> tuple[Any, ...]:
    for kind in _alternatives(hint):  # a choice, or a choice that may be none
        if typing.get_origin(kind) is Literal:
            return typing.get_args(kind)
    return ()


def _doc_lines(doc: str) -> dict[str, str]:
    """The texts "name: text" of a docstring; a text goes on until the next name."""
    body = " ".join(doc.partition("\n\n")[2].split())
    parts = re.split(r"(?:^|(?<=[.\s]))([a-z_][a-z_0-9]*): ", body)
    pairs = zip(parts[1::2], parts[2::2], strict=True)
    return {name: text.strip().rstrip(".") for name, text in pairs}


def _alternatives(hint: Any) -> tuple[Any, ...]:
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return typing.get_args(hint) if union else (hint,)


def _parse_one(text: str, hint: Any) -> Any:
    origin = typing.get_origin(hint)
    if hint is type(None) and text.lower() == "none":
        return None
    if hint is bool and text.lower() in ("true", "false", "yes", "no", "1", "0"):
        return text.lower() in ("true", "yes", "1")
    if origin is Literal and text in (named := {str(v): v for v in typing.get_args(hint)}):
        return named[text]
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
