"""Rows that differ in one token, and therefore in an answer: what activation patching compares.

Of a row of the probe one prompt token is replaced by the token that another row has in its place:
if the task marks dependencies, a token on which a supervised one depends. Task.solve_scored says
what follows from the new prompt. The first supervised token that then differs is asked for; every
other token before it is the same in both rows. Which token is replaced, and by what, is drawn from
a stream of its own for each row; a row is left out if none of TRIES draws changes the answer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from lab.analysis.subject import Subject, dependency_mask
from lab.data.rows import stream
from tasks import Batch, Role, refuse

TRIES = 32


class Pairs(NamedTuple):
    """subject: the clean rows. corrupted int64 [n,T]: the rows with one token replaced, and what
    follows. changed, query int [n]: columns of that token and of the one before the token that is
    asked for. right, wrong int [n]: the latter in the clean and in the corrupted row."""

    subject: Subject
    corrupted: np.ndarray
    changed: np.ndarray
    query: np.ndarray
    right: np.ndarray
    wrong: np.ndarray


def corrupted_pairs(subject: Subject, seed: int = 0) -> Pairs:
    """A pair for each of the subject's rows that has one. ValueError where none has."""
    batch, marks = subject.batch, dependency_mask(subject)
    found: list[tuple[int, int, int, np.ndarray]] = []
    for row in range(len(batch)):
        rng = np.random.default_rng(stream(seed, "pairs", row))
        depended = None if marks is None else marks[row].any(0)
        for column, token in _replacements(batch, row, depended, rng):
            corrupted = _follow(subject, row, column, token)
            differs = _first_difference(batch, row, corrupted)
            if corrupted is not None and differs > column:
                found.append((row, column, differs, corrupted))
                break
    if not found:
        allowed = "in no row does another token in the prompt change the answer and keep its form"
        raise refuse("task", subject.task.name, allowed)
    rows, changed, asked, corrupted_rows = (np.array(part) for part in zip(*found, strict=True))
    clean = batch[rows]
    own, T = np.arange(len(rows)), clean.tokens.shape[1]
    corrupted = corrupted_rows[:, :T]
    return Pairs(
        subject=dataclasses.replace(subject, batch=clean),
        corrupted=corrupted,
        changed=changed,
        query=asked - 1,
        right=clean.tokens[own, asked],
        wrong=corrupted[own, asked],
    )


def _replacements(
    batch: Batch, row: int, depended: np.ndarray | None, rng: np.random.Generator
) -> Iterator[tuple[int, int]]:
    """Prompt tokens of a row, each with another one that some row has in its place."""
    prompt = batch.roles == Role.PROMPT
    columns = np.flatnonzero(prompt[row])
    if depended is not None and (prompt[row] & depended).any():
        columns = np.flatnonzero(prompt[row] & depended)
    for _ in range(TRIES if len(columns) else 0):
        column, other = rng.choice(columns), rng.integers(len(batch))
        token = batch.tokens[other, column]
        if prompt[other, column] and token != batch.tokens[row, column]:
            yield int(column), int(token)


def _follow(subject: Subject, row: int, column: int, token: int) -> np.ndarray | None:
    """The row with this token in a column of its prompt, and what follows from it; None where that
    is no row, or one of another form."""
    batch, cot = subject.batch, subject.experiment.cot
    tokens, roles = batch.tokens[row].copy(), batch.roles[row]
    tokens[column] = token
    prompt, hidden = tokens[roles == Role.PROMPT].tolist(), batch.hidden[row].tolist()
    try:
        thought, answer = subject.task.solve_scored(prompt, hidden, cot)
    except ValueError:
        return None
    written = np.isin(roles, (Role.THOUGHT, Role.TOOL))
    if (len(thought) if cot else 0) != written.sum() or len(answer) != (roles == Role.ANSWER).sum():
        return None
    tokens[written] = thought if cot else []
    tokens[roles == Role.ANSWER] = answer
    return tokens


def _first_difference(batch: Batch, row: int, corrupted: np.ndarray | None) -> int:
    """The first supervised column that differs; -1 if there is none, or a tool's token is first."""
    if corrupted is None:
        return -1
    after = (corrupted != batch.tokens[row]) & (batch.roles[row] != Role.PROMPT)
    first = int(after.argmax())
    return first if after.any() and batch.roles[row, first] != Role.TOOL else -1
