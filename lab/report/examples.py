"""What a report shows of a model itself: rows that it wrote beside the oracle's, where it looks.

The model decodes by itself (lab.evaluation.decode). The first wrong token is the first column after
the prompt where it differs from the oracle; what comes later may be right for what went before.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lab.analysis.heads import AnalysisResult, attention_maps, measure
from lab.analysis.subject import Subject, dependency_mask, first_rows, open_run
from lab.config import NOTHING, Trusted
from lab.evaluation.decode import decode
from tasks import Role, Task

DRAWN = 32  # rows of a probe that are decoded, to choose examples from


@dataclass(frozen=True)
class Example:
    """Row `number` of a probe, without padding: words and roles of the reference, the words that
    the model wrote ("" after its end), and the column of its first wrong token, or None."""

    number: int
    words: tuple[str, ...]
    roles: tuple[int, ...]
    own: tuple[str, ...]
    wrong: int | None


@dataclass(frozen=True)
class Examples:
    """Some rows of a probe, of `drawn` rows of which the model wrote `right` as the oracle has."""

    probe: str
    length: int
    drawn: int
    right: int
    rows: tuple[Example, ...]


@dataclass(frozen=True)
class Maps:
    """Attention in a row of the first probe: which layers have it, weights [L,H,T,T], the row, and
    bool [T,T] where the task says that a token matters to a query (None: it does not say)."""

    layers: list[int]
    weights: np.ndarray
    row: Example
    dependencies: np.ndarray | None


@dataclass(frozen=True)
class RunInspection:
    """Of one run: its checkpoint, parameters, examples of every probe, measures on the first."""

    run: str
    at: str
    parameters: int
    examples: tuple[Examples, ...]
    findings: AnalysisResult
    attention_maps: Maps


def inspect_run(run: str | Path, number: int, trusted: Trusted = NOTHING) -> RunInspection:
    """Open a run and look at it, with `number` examples of a probe. ValueError as `open_run`."""
    subject = open_run(run, rows=DRAWN, trusted=trusted)
    found = []
    for probe in subject.experiment.probes:
        batch = first_rows(subject.experiment, probe, min(DRAWN, probe.n))
        own = dataclasses.replace(subject, probe=probe, batch=batch)
        found.append(examples(own, number))
    layers, weights = attention_maps(subject)
    marks = dependency_mask(subject)
    row = found[0].rows[0] if found[0].rows and found[0].rows[0].number == 0 else None
    row = row or examples(subject, 1).rows[0]
    T = len(row.words)
    return RunInspection(
        run=str(run),
        at=subject.at,
        parameters=sum(p.numel() for p in subject.model.parameters()),
        examples=tuple(found),
        findings=measure(subject),
        attention_maps=Maps(layers, weights, row, None if marks is None else marks[0, :T, :T]),
    )


def examples(subject: Subject, number: int) -> Examples:
    """The first rows of the subject, and among them a right and a wrong one where there are any."""
    batch, task = subject.batch, subject.task
    written = decode(subject.model, task, batch)
    wrong = [first_wrong(batch.tokens[i], batch.roles[i], written[i]) for i in range(len(batch))]
    chosen = _choose([w is not None for w in wrong], number)
    rows = tuple(
        _example(task, i, batch.tokens[i], batch.roles[i], written[i], wrong[i]) for i in chosen
    )
    return Examples(subject.probe.label, subject.probe.length, len(batch), wrong.count(None), rows)


def first_wrong(tokens: np.ndarray, roles: np.ndarray, written: np.ndarray) -> int | None:
    """The first column [T] after the prompt at which the model's row is not the reference."""
    supplied = np.isin(roles, (Role.THOUGHT, Role.ANSWER, Role.TOOL))
    places = np.flatnonzero(supplied & (tokens != written))
    return int(places[0]) if len(places) else None


def _choose(wrong: Sequence[bool], number: int) -> list[int]:
    """The first rows; the last of them gives way to the first that is unlike all of them."""
    chosen = list(range(min(number, len(wrong))))
    kinds = {wrong[i] for i in chosen}
    if len(chosen) > 1 and len(kinds) == 1 and (not wrong[0]) in wrong:
        chosen[-1] = wrong.index(not wrong[0])
    return chosen


def _example(
    task: Task,
    number: int,
    tokens: np.ndarray,
    roles: np.ndarray,
    written: np.ndarray,
    wrong: int | None,
) -> Example:
    T = int((roles != Role.PAD).sum())
    told = roles[:T] == Role.PROMPT
    ends = np.flatnonzero(np.isin(written[:T], task.stop) & ~told)
    end = int(ends[0]) + 1 if len(ends) else T
    words = task.words
    return Example(
        number=number,
        words=tuple(words[t] for t in tokens[:T]),
        roles=tuple(roles[:T].tolist()),
        own=tuple(words[t] if i < end else "" for i, t in enumerate(written[:T])),
        wrong=wrong,
    )
