"""The part of a page on the analyses that it was asked for (lab.analysis.finding), of one run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import registry
from lab.analysis.subject import open_run
from lab.config import Trusted
from lab.report.sections import Table, Terms

ROWS = 64  # of the first probe


@dataclass(frozen=True)
class Analysed:
    """An analysis by its name, in sentences and a table; or why it could not be made, without
    one."""

    name: str
    sentences: Sequence[str]
    terms: Terms = ()
    table: Table | None = None


def analysed(run: str | Path, names: Sequence[str], trusted: Trusted) -> list[Analysed]:
    """The analyses of a run on the first rows of its first probe, each with its own defaults.
    ValueError as `open_run`."""
    subject = open_run(run, rows=ROWS, trusted=trusted)
    return [_analysed(name, subject) for name in names]


def _analysed(name: str, subject: Any) -> Analysed:
    try:
        found = registry.load("analyses", name)(subject)
    except ValueError as error:
        return Analysed(name, [f"Left out: {error}"])
    rows = found.table
    heads = list(rows[0]) if rows else []
    texts = [h for h in heads if any(isinstance(row[h], str) for row in rows)]
    return Analysed(
        name,
        found.sentences,
        tuple((_plain(term), text) for term, text in found.terms.items() if term in heads),
        Table(
            f"{_plain(name)}, {len(subject.batch)} rows of {subject.probe.label}",
            [_plain(h) for h in heads],
            [[_cell(row[h]) for h in heads] for row in rows],
            text_columns=len(texts),
        ),
    )


def _plain(name: str) -> str:
    return name.replace("_", " ")


def _cell(value: Any) -> str:
    return "-" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)
