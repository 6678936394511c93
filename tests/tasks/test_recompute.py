"""Thoughts that continue from an error: a scalar twin of every `Task.recompute`, token by token."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.data.rows import Rows
from lab.data.thoughts import corrupt_thoughts, draw_corruptions
from lab.testing import seeds
from tasks import Batch, Role, Task, load, names
from tasks._groups import compose, group
from tasks._program import TuringProgram
from tasks.addition import Addition
from tasks.compose_arithmetic import ComposeArithmetic
from tasks.compose_parity import ComposeParity
from tasks.compose_translation import ComposeTranslation, _words
from tasks.multiplication import Multiplication
from tasks.parity import Parity
from tasks.planted import Planted
from tasks.sgd import Sgd
from tasks.turing_machine import TuringMachine
from tasks.word_problem import WordProblem
from tests.tasks.common import corrupted

CorruptOne = Callable[[int, int], int]  # (token, its place in the row) -> what it becomes


def twin(
    task: Any, length: int, row: list[int], hidden: list[int], corrupt: CorruptOne
) -> list[int]:
    """The whole row from its prompt, one token after another. row: the prompt tokens in order."""
    if isinstance(task, TuringProgram):
        return program(task, row, corrupt)
    if isinstance(task, Parity):
        return run_of_bits(row, [row[i] for i in task.support(length)], corrupt, sum(hidden))
    if isinstance(task, Planted):
        return run_of_bits(row, [token for token in row if token < 2], corrupt, 0)
    if isinstance(task, ComposeParity):
        out: list[int] = []
        for start in range(0, len(row), length):
            out += row[start : start + length]
            parity = 0
            for index in hidden:
                out.append(corrupt(parity, len(out)))
                parity = (out[-1] + row[start + index]) % 2
            out.append(parity)
        return out
    if isinstance(task, ComposeArithmetic):
        out, p = [], task.modulus
        for start in range(0, len(row), length + 1):
            out += row[start : start + length + 1]
            r = row[start]
            for t, op in enumerate(hidden):
                x, times = row[start + 1 + t], op // 4 + 1
                r = [r + times * x, r - times * x, r * x**times, r * pow(x, -times, p)][op % 4] % p
                out.append(corrupt(r, len(out)) if t < length - 1 else r)
                r = out[-1]
        return out
    if isinstance(task, ComposeTranslation):
        table = _words(task).tolist()
        out = row[:-1]
        meaning = next(words.index(row[-4]) for words in table if row[-4] in words)
        for t in range(1, length):
            out.append(corrupt(row[3 * t], len(out)))
            word = table[out[-1] - 4][meaning]
            out.append(corrupt(word, len(out)) if t < length - 1 else word)
            meaning = next(words.index(out[-1]) for words in table if out[-1] in words)
            out.append(0 if t < length - 1 else row[-1])
        return out
    assert isinstance(task, WordProblem)
    elements, number, modulus = group(task.group)[:3]
    out, product = list(row), elements[0]
    for i, token in enumerate(row):
        product = compose(product, elements[token], modulus)
        answer = i == length - 1 and not task.identity
        out.append(number[product] if answer else corrupt(number[product], len(out)))
        product = elements[out[-1]]
    return [*out, len(elements) + (product == elements[0])] if task.identity else out


def run_of_bits(row: list[int], bits: Sequence[int], corrupt: CorruptOne, flip: int) -> list[int]:
    out, parity = list(row), 0
    for bit in bits:
        out.append(corrupt(parity, len(out)))
        parity = (out[-1] + bit) % 2
    return [*out, (parity + flip) % 2]


def program(task: TuringProgram, row: list[int], corrupt: CorruptOne) -> list[int]:
    out, tape = list(row), list(row[1:-1])
    while True:
        after = task.step(tape)
        assert after is not None
        if task.step(after) is None:
            return [*out, *after, len(task.glyphs) + 1]
        tape = [corrupt(token, len(out) + i) for i, token in enumerate(after)]
        out += [*tape, len(task.glyphs) + 2]


RECOMPUTED: list[tuple[Task, tuple[int, ...]]] = [
    (Parity(k=3), (5, 9)),
    (Parity(k=0.5, noise=0.3), (8,)),
    (Planted(k=4), (7,)),
    (ComposeParity(k=3, contexts=5), (8, 9)),
    (ComposeParity(k=2, contexts=3, ordered=True, train_tasks=9), (5,)),
    (ComposeArithmetic(contexts=4), (3, 5)),
    (ComposeArithmetic(operations=7, modulus=7, contexts=2), (3,)),
    (ComposeTranslation(meanings=5), (3, 6)),
    (ComposeTranslation(languages=3, contexts=1, train_tasks=3), (2, 4)),
    (WordProblem(), (1, 4)),
    (WordProblem(group="S5", identity=True), (6,)),
    (WordProblem(group="Z60"), (3,)),
    (Addition(), (1, 2, 6)),
    (Addition(base=26), (3,)),
    (Multiplication(digits=2), (1, 3)),
    (Multiplication(), (4,)),
    (Multiplication(digits=2, base=16), (3,)),
    (Sgd(), (1, 2, 4)),
    (Sgd(dimension=3, fraction=4, rate=1, limit=9), (3,)),
    (TuringMachine(steps=6), (2, 5)),
    (TuringMachine(steps=9, machines=3, halting=0.4, states=5), (4,)),
]
CASES = [(task, length) for task, lengths in RECOMPUTED for length in lengths]


def check_twin(task: Task, length: int, batch: Batch, corruptions: np.ndarray) -> Batch:
    recomputed = corrupt_thoughts(task, length, batch, corruptions, True)
    for row in range(len(batch)):
        prompt = batch.tokens[row, batch.roles[row] == Role.PROMPT].tolist()

        def corrupt(token: int, place: int, row: int = row) -> int:
            inside = place < corruptions.shape[1]
            return corrupted(task, length, token, corruptions[row, place] if inside else -1)

        wanted = twin(task, length, prompt, batch.hidden[row].tolist(), corrupt)
        assert recomputed.tokens[row, recomputed.roles[row] != Role.PAD].tolist() == wanted
        assert (recomputed.tokens[row, recomputed.roles[row] == Role.PROMPT] == prompt).all()
    return recomputed


@pytest.mark.parametrize(("task", "length"), CASES, ids=str)
@given(seed=seeds, rate=st.sampled_from([0.05, 0.3, 1.0]))
def test_a_run_continues_from_its_errors(task: Task, length: int, seed: int, rate: float) -> None:
    rng = np.random.default_rng(seed)
    batch = task.sample(rng, 6, length)
    corruptions = draw_corruptions(rng, batch.tokens.shape, 0.7, rate)
    recomputed = check_twin(task, length, batch, corruptions)
    spared = (corruptions < 0).all(1)
    T = min(batch.tokens.shape[1], recomputed.tokens.shape[1])
    assert (recomputed.tokens[spared, :T] == batch.tokens[spared, :T]).all()
    if not task.stop:
        assert (recomputed.roles == batch.roles).all()
    assert recomputed.tokens.dtype == np.int64 and recomputed.roles.dtype == np.uint8


@pytest.mark.parametrize(("task", "length"), CASES, ids=str)
def test_a_run_without_errors_is_the_row(task: Task, length: int) -> None:
    for split in task.splits():
        part = dataclasses.replace(task, split=split)  # type: ignore[type-var]
        try:
            batch = part.sample(np.random.default_rng(1), 200, length)
        except ValueError:
            continue  # too short to hold anything out
        none = np.full(batch.tokens.shape, -1)
        for recomputed in (
            corrupt_thoughts(part, length, batch, none, dynamic) for dynamic in (True, False)
        ):
            assert np.array_equal(recomputed.tokens, batch.tokens)
            assert np.array_equal(recomputed.roles, batch.roles)
            assert np.array_equal(recomputed.hidden, batch.hidden)


def test_errors_change_answers() -> None:
    """An odd number of errors turns a parity around, an even one does not."""
    task = Parity(k=5)
    batch = Rows(task, 12, 0)[0:400]
    corruptions = draw_corruptions(np.random.default_rng(0), batch.tokens.shape, 1.0, 0.3)
    recomputed = corrupt_thoughts(task, 12, batch, corruptions, True)
    odd = (corruptions[:, 12:-1] >= 0).sum(1) % 2
    assert ((recomputed.tokens[:, -1] ^ batch.tokens[:, -1]) == odd).all() and 0 < odd.mean() < 1


def test_every_task_that_continues_from_errors_is_here() -> None:
    able = {name for name in names() if load(name).recompute is not Task.recompute}
    assert able == {task.name for task, _ in RECOMPUTED}
