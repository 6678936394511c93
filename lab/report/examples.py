"""What a report shows of a trained model: rows that it wrote beside the reference, its attention.

The model decodes by itself (lab.evaluation.decode). The first wrong token is the first column after
the prompt where the row differs from the reference; later tokens may be right given what the model
wrote before them.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path

import numpy as np

from lab.analysis.heads import AnalysisResult, attention_maps, measure
from lab.analysis.subject import Subject, dependency_mask, first_rows, open_run
from lab.config import NOTHING, Trusted
from lab.evaluation.decode import decode
from tasks import Role, Task
from tasks._program import EOS, SEP, TuringProgram

DECODED = 32  # rows of a probe that the model decodes, to choose examples from


@dataclass(frozen=True)
class Example:
    """Row `number` of a probe, without padding. words, roles: of the reference; written: the words
    of the model ("" after its end); first_wrong: column of its first wrong token, or None."""

    number: int
    words: tuple[str, ...]
    roles: tuple[int, ...]
    written: tuple[str, ...]
    first_wrong: int | None


@dataclass(frozen=True)
class Examples:
    """Some rows of a probe; of `decoded` rows, the model wrote `right` exactly as the reference.
    places: where the first wrong token is in the others, as `place` says, with how many rows."""

    probe: str
    length: int
    decoded: int
    right: int
    rows: tuple[Example, ...]
    places: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Maps:
    """Attention in a row of the first probe. layers: numbers of the L attention layers; weights
    [L,H,T,T]; dependencies: bool [T,T], the tokens that determine the one after a query, None where
    the task does not mark them."""

    layers: list[int]
    weights: np.ndarray
    row: Example
    dependencies: np.ndarray | None


@dataclass(frozen=True)
class RunInspection:
    """One run: checkpoint, number of parameters, examples of every probe, and statistics of heads
    and layers with attention maps, both on the first probe."""

    run: str
    checkpoint: str
    parameters: int
    examples: tuple[Examples, ...]
    findings: AnalysisResult
    attention_maps: Maps


def inspect_run(run: str | Path, number: int, trusted: Trusted = NOTHING) -> RunInspection:
    """Open a run and inspect its model, with `number` examples of each probe. trusted: the files of
    code that the user named. ValueError as `open_run`."""
    subject = open_run(run, rows=DECODED, trusted=trusted)
    by_probe = []
    for probe in subject.experiment.probes:
        batch = first_rows(subject.experiment, probe, min(DECODED, probe.n))
        own = dataclasses.replace(subject, probe=probe, batch=batch)
        by_probe.append(examples(own, number))
    layers, weights = attention_maps(subject)
    marks = dependency_mask(subject)
    shown = by_probe[0].rows
    row = shown[0] if shown and shown[0].number == 0 else None
    row = row or examples(subject, 1).rows[0]
    T = len(row.words)
    return RunInspection(
        run=str(run),
        checkpoint=subject.at,
        parameters=sum(p.numel() for p in subject.model.parameters()),
        examples=tuple(by_probe),
        findings=measure(subject),
        attention_maps=Maps(layers, weights, row, None if marks is None else marks[0, :T, :T]),
    )


def examples(subject: Subject, number: int) -> Examples:
    """The first `number` rows of the subject, a right and a wrong one among them if there are
    any."""
    batch, task = subject.batch, subject.task
    written = decode(subject.model, task, batch)
    wrong = [first_wrong(batch.tokens[i], batch.roles[i], written[i]) for i in range(len(batch))]
    chosen = _choose([w is not None for w in wrong], number)
    rows = tuple(
        _example(task, i, batch.tokens[i], batch.roles[i], written[i], wrong[i]) for i in chosen
    )
    every = [
        _example(task, i, batch.tokens[i], batch.roles[i], written[i], wrong[i])
        for i in range(len(batch))
        if wrong[i] is not None
    ]
    places = Counter(place(row, isinstance(task, TuringProgram)) for row in every)
    right = wrong.count(None)
    probe = subject.probe
    return Examples(probe.label, probe.length, len(batch), right, rows, (*places.most_common(),))


def place(row: Example, tapes: bool) -> str:
    """Where the first wrong token of a row is: in the thought or in the answer. tapes: the row is a
    history of tapes; then at the head, which is what the step to this tape rewrites, or in what it
    copies from the tape before."""
    at = row.first_wrong
    assert at is not None
    if not tapes:
        return f"in the {Role(row.roles[at]).name.lower()}"
    ends = [t for t, word in enumerate(row.words) if word in (SEP, EOS)]
    marks = [0, *ends]
    number = next(i for i, end in enumerate(ends) if end >= at)
    if at == ends[number]:
        return "at the end of a tape"
    before, now = (row.words[marks[i] + 1 : ends[i]] for i in (number - 1, number))
    column = at - marks[number] - 1
    if len(before) == len(now):
        copied = before[column] == now[column]
    else:  # the tape grew or shrank: what fits best is what was copied
        blocks = SequenceMatcher(None, before, now, autojunk=False).get_matching_blocks()
        copied = any(block.b <= column < block.b + block.size for block in blocks)
    if copied:
        return "in a copied cell of the tape"
    return "at the head of the tape"


def first_wrong(tokens: np.ndarray, roles: np.ndarray, written: np.ndarray) -> int | None:
    """The first column after the prompt where the row the model wrote differs from the reference,
    None where none does. All arguments [T]."""
    generated = np.isin(roles, (Role.THOUGHT, Role.ANSWER, Role.TOOL))
    columns = np.flatnonzero(generated & (tokens != written))
    return int(columns[0]) if len(columns) else None


def _choose(wrong: Sequence[bool], number: int) -> list[int]:
    """The first `number` rows; the last is replaced by the first row of the other kind, right or
    wrong, if all of them are of one kind."""
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
    prompt = roles[:T] == Role.PROMPT
    ends = np.flatnonzero(np.isin(written[:T], task.stop) & ~prompt)
    end = int(ends[0]) + 1 if len(ends) else T
    words = task.words
    return Example(
        number=number,
        words=tuple(words[t] for t in tokens[:T]),
        roles=tuple(roles[:T].tolist()),
        written=tuple(words[t] if i < end else "" for i, t in enumerate(written[:T])),
        first_wrong=wrong,
    )
