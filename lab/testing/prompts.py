"""Prompts that `sample` cannot have made: `solve` or `valid` must refuse them.

What a prompt may look like is read from 1,024 rows of every split at one length, and from up to
16,384 more before a fault is reported. A changed prompt counts as malformed where that leaves no
doubt:

    at a position, counted from either end, it has a token far outside all tokens seen there
    two tokens, adjacent or one apart, follow each other that never did in these rows, though
        chance alone would have paired them 30 times
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from lab.data.rows import BLOCK
from lab.testing.properties import printed, sample
from lab.testing.trace import TooManyLines, lines_run
from tasks import Batch, Role, Task

_ROWS = 12  # prompts that are changed
_CHANGES = 24  # of each prompt
_LINES = 300_000  # that `solve` may run for one prompt
_BLOCKS, _TOKENS = 16, 4_000_000  # that are looked at, at most, before `solve` is blamed
_PAIRED = 30  # times that chance would have paired two tokens
_PRINTED = 240  # letters of a prompt in a message
_WORDS = 4096  # a larger vocabulary leaves no such pairs


def malformed_prompts_are_refused(task: Task, allowed: list[int]) -> None:
    """Rows are valid, and a malformed prompt is refused by solve or by valid."""
    for length in dict.fromkeys([allowed[min(3, len(allowed) - 1)], allowed[len(allowed) // 2]]):
        batches = _of_every_split(task, length)
        prompts = [_tokens(batch) for batch in batches]
        shape = _Shape.of([p for own in prompts for p in own], task.words)
        rng, looked = np.random.default_rng(5), False
        for batch, own in zip(batches, prompts, strict=True):
            for row in np.linspace(0, len(own) - 1, _ROWS).astype(int).tolist():
                prompt, hidden = own[row].tolist(), batch.hidden[row].tolist()
                if not task.valid(prompt):
                    raise AssertionError(f"valid refuses the row {_cut(printed(task, prompt))}")
                for changed, same in _changes(len(task.words), prompt, rng):
                    if not _wrong(shape, changed, same):
                        continue
                    fault = _accepted(task, changed, hidden)
                    if fault and not looked:  # before anybody is accused, look at more rows
                        shape, looked = _Shape.of(_many(task, length), task.words), True
                    why = _wrong(shape, changed, same)
                    if fault and why:
                        text = _cut(printed(task, changed))
                        raise AssertionError(f"length {length}: {why}, but solve {fault} {text}")


def _many(task: Task, length: int) -> list[np.ndarray]:
    tokens = sample(task, 0, 1, length).tokens.shape[1]
    blocks = max(2, min(_BLOCKS, _TOKENS // (BLOCK * tokens)))
    return [
        prompt
        for seed in range(blocks)
        for batch in _of_every_split(task, length, 100 + seed)
        for prompt in _tokens(batch)
    ]


class _Shape(NamedTuple):
    """What prompts of one length have in common.

    left, right: least and largest token at each position from the left and the right, int [2, T].
    never: by distance, bool [words, words], pairs that must not be; None: too many words.
    """

    words: tuple[str, ...]
    left: np.ndarray
    right: np.ndarray
    never: dict[int, np.ndarray] | None

    @classmethod
    def of(cls, prompts: list[np.ndarray], words: tuple[str, ...]) -> _Shape:
        T = min(map(len, prompts))
        left, right = np.stack([p[:T] for p in prompts]), np.stack([p[::-1][:T] for p in prompts])
        never = None
        if len(words) <= _WORDS:
            never = {distance: _never(prompts, len(words), distance) for distance in (1, 2)}
        return cls(words, _range(left), _range(right), never)


def _range(columns: np.ndarray) -> np.ndarray:
    """Least and largest token at each position, each moved out by the width of the last tenth of
    the rows: where a tail is thin, rarer tokens may follow."""
    low, below, above, high = np.quantile(columns, [0, 0.1, 0.9, 1], axis=0, method="nearest")
    return np.stack([low - (below - low), high + (high - above)])


def _never(prompts: list[np.ndarray], words: int, distance: int) -> np.ndarray:
    flat = np.concatenate([np.append(p, [-1] * distance) for p in prompts])
    first, second = flat[:-distance], flat[distance:]
    inside = (first >= 0) & (second >= 0)
    first, second = first[inside], second[inside]
    seen = np.bincount(first * words + second, minlength=words * words).reshape(words, words)
    expected = np.outer(seen.sum(1), seen.sum(0)) / max(1, len(first))
    never: np.ndarray = (seen == 0) & (expected >= _PAIRED)
    return never


def _of_every_split(task: Task, length: int, seed: int = 23) -> list[Batch]:
    batches = []
    for split in task.splits():
        part = dataclasses.replace(task, split=split)  # type: ignore[type-var]
        try:
            batches.append(sample(part, seed, BLOCK, length))
        except ValueError:
            continue  # too short to hold anything out
    return batches


def _tokens(batch: Batch) -> list[np.ndarray]:
    own = batch.roles == Role.PROMPT
    return np.split(batch.tokens[own], own.sum(1).cumsum()[:-1])


def _changes(
    words: int, prompt: list[int], rng: np.random.Generator
) -> Iterator[tuple[list[int], bool]]:
    """Prompts made from a good one by one change, and whether the size is the same."""
    T = len(prompt)
    for _ in range(_CHANGES):
        kind, t, token = (int(rng.integers(high)) for high in (4, T, words))
        changed = list(prompt)
        if kind == 0 and t + 1 < T:
            changed[t], changed[t + 1] = changed[t + 1], changed[t]
        elif kind == 1 and T > 1:
            del changed[t]
        elif kind == 2:
            changed.insert(t, token)
        else:
            changed[t] = token
        yield changed, len(changed) == T


def _wrong(shape: _Shape, prompt: list[int], same: bool) -> str | None:
    """What is wrong with a prompt, if that is beyond doubt. same: its size was not changed, so all
    positions can be compared; else only the first and the last one."""
    words, tokens = shape.words, np.array(prompt)
    for ends, own, side in (
        (shape.left, tokens, ""),
        (shape.right, tokens[::-1], " from the right"),
    ):
        T = min(len(own), ends.shape[1] if same else 1)
        outside = (own[:T] < ends[0, :T]) | (own[:T] > ends[1, :T])
        if outside.any():
            t = int(outside.argmax())
            return f"no row has {words[own[t]]!r} at position {t}{side} of its prompt"
    for distance, never in (shape.never or {}).items():
        bad = np.flatnonzero(never[tokens[:-distance], tokens[distance:]])
        if len(bad):
            a, b = words[tokens[bad[0]]], words[tokens[bad[0] + distance]]
            where = "next to" if distance == 1 else "two before"
            return f"no row has {a!r} {where} {b!r} in its prompt"
    return None


def _accepted(task: Task, prompt: list[int], hidden: list[int]) -> str | None:
    """What `solve` does with a malformed prompt; None where it, or `valid`, refuses."""
    if not task.valid(prompt):
        return None
    try:
        lines_run(lambda: task.solve(prompt, hidden), _LINES)
    except TooManyLines:
        return "does not end for"
    except Exception:
        return None
    return "accepts"


def _cut(text: str) -> str:
    return text if len(text) <= _PRINTED else f"{text[:_PRINTED]} ...'"
