"""Rows of runs (lab.results.frame.rows), chosen, ordered and cut to columns by what a person types.

    matching(rows, ["task.k=3", "exact>=0.9"]), ordered(rows, ["-exact"]), column("k", rows)

A field is a column by its path ("task.k"), or by its plain name ("k", "lr") where it is one of the
task, the model or the training.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Sequence
from typing import Any

from lab.config.fields import parse
from tasks import refuse

Row = dict[str, Any]
PARTS = ("task", "model", "train")
ORDERS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


def names(field: str, rows: Sequence[Row], option: str) -> list[str]:
    """The columns that a field may mean, the most likely first. ValueError where no row has one."""
    candidates = [field, *(f"{part}.{field}" for part in PARTS)]
    present = [name for name in candidates if any(name in row for row in rows)]
    if rows and not present:
        raise refuse(option, field, "no run here has such a field (task.k, train.lr, cot, exact)")
    return present


def matching(rows: Sequence[Row], where: Sequence[str]) -> list[Row]:
    """The rows that meet every condition: PATH=VALUE, PATH!=VALUE, or PATH<VALUE, <=, >, >= with a
    number. ValueError for another form and for a field that no row has."""
    kept = list(rows)
    for text in where:
        found = re.fullmatch(r"([^=<>!]+)(<=|>=|!=|=|<|>)(.*)", text, re.DOTALL)
        path, sign, value = (part.strip() for part in found.groups()) if found else ("", "", "")
        if not path:
            forms = "it needs the form PATH=VALUE, such as task.k=3, or PATH>VALUE (<, <=, >=, !=)"
            raise refuse("--where", text, forms)
        columns = names(path, rows, "--where")
        if sign in ORDERS:
            limit = parse(value, float, "--where")
            kept = [r for r in kept if any(_ordered(r.get(c), sign, limit) for c in columns)]
        else:
            same = [any(_same(row[c], value) for c in columns if c in row) for row in kept]
            kept = [row for row, equal in zip(kept, same, strict=True) if equal == (sign == "=")]
    return kept


def ordered(rows: Sequence[Row], by: Sequence[str]) -> list[Row]:
    """The rows from the smallest value of the first field, then of the next; a minus in front of a
    field: from the largest. Rows without a value come last. ValueError for a field that no row
    has."""
    kept = list(rows)
    for field in reversed(by):
        column = next(iter(names(field.removeprefix("-"), rows, "--sort")), "")
        known = [row for row in kept if row.get(column) is not None]
        known.sort(key=lambda row: _key(row[column]), reverse=field.startswith("-"))
        kept = known + [row for row in kept if row.get(column) is None]
    return kept


def cut(rows: Sequence[Row], fields: Sequence[str]) -> list[Row]:
    """The rows with these columns alone, in this order, under the names that were typed. ValueError
    for a field that no row has."""
    columns = {field: names(field, rows, "--columns") for field in fields}
    return [{f: next((row[c] for c in cs if c in row), None) for f, cs in columns.items()}
            for row in rows]  # fmt: skip


def _ordered(value: Any, sign: str, limit: float) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and ORDERS[sign](value, limit)


def _same(value: Any, text: str) -> bool:
    """Whether a value equals the one that was typed."""
    hint: Any
    if isinstance(value, tuple):
        hint = tuple[float, ...] if any(isinstance(v, float) for v in value) else tuple[int, ...]
    elif isinstance(value, bool | str):
        hint = type(value)
    else:
        hint = float | None
    try:
        return bool(parse(text, hint, "--where") == value)
    except ValueError:
        return False


def _key(value: Any) -> tuple[bool, float, str]:
    """Numbers before texts."""
    number = isinstance(value, int | float)
    return (not number, float(value) if number else 0.0, "" if number else str(value))
