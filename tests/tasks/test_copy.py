"""Copy, its coupled positions and its splits."""

import itertools
from math import perm

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.data.rows import join
from lab.testing import options, seeds
from tasks import Role
from tasks.copy import Copy
from tests.tasks.common import check, drawn, refuses

Rng = np.random.default_rng


def test_worked_example() -> None:
    task = Copy()
    thought, answer = task.solve([task.words.index(word) for word in "$bad|"])
    assert thought == [] and "".join(task.words[t] for t in answer) == "bad."


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("unique", [False, True])
def test_printed_rows_say_the_same_twice(split: str, unique: bool) -> None:
    task = Copy(unique=unique, split=split)
    for length in (1, 5, 26):
        batch = task.sample(Rng(1), 1700, length)
        for row in batch.tokens.tolist():
            text = "".join(task.words[t] for t in row)
            string = text[1 : length + 1]
            assert text == f"${string}|{string}." and string.isalpha() and len(string) == length
            assert not unique or len(set(string)) == length
        assert (batch.roles[:, : length + 2] == Role.PROMPT).all()
        assert (batch.roles[:, length + 2 :] == Role.ANSWER).all()


def test_positions_of_the_worked_example() -> None:
    task = Copy()
    batch = task.sample(Rng(2), 4, 3)
    ids = task.positions(batch)
    assert ids is not None
    assert ids.tolist() == [[1, 2, 3, 4, 1, 2, 3, 4, 5]] * 4


@given(lengths=st.tuples(st.integers(1, 12), st.integers(1, 12)), seed=seeds)
def test_positions_pair_each_copy_with_its_source(lengths: tuple[int, int], seed: int) -> None:
    """Also in a batch of two lengths: the next token is found at the id that is one higher."""
    task = Copy()
    rows = join([task.sample(Rng(seed), 3, length) for length in lengths])
    ids = task.positions(rows)
    assert ids is not None and ids.dtype == np.int64
    for row, (tokens, roles, own) in enumerate(zip(rows.tokens, rows.roles, ids, strict=True)):
        length = lengths[row // 3]
        source = {int(own[t]): int(tokens[t]) for t in range(1, length + 1)}
        assert len(source) == length and not own[roles == Role.PAD].any()
        for t in range(length + 1, 2 * length + 1):
            assert tokens[t + 1] == source[own[t] + 1] and own[t + 1] == own[t] + 1
        assert own[2 * length + 1] + 1 not in source  # nothing to copy: the end


@pytest.mark.parametrize(
    ("symbols", "unique", "length", "held"),
    [(3, False, 3, 1), (4, False, 5, 64), (2, False, 9, 32), (5, True, 4, 7), (5, True, 5, 7)],
)
def test_splits_divide_all_strings(symbols: int, unique: bool, length: int, held: int) -> None:
    """By enumeration; `held` strings are held out, and the rows of a split are uniform."""
    total = perm(symbols, length) if unique else symbols**length
    by_split = []
    for split in ("train", "test"):
        task = Copy(symbols, unique, split)
        batch = task.sample(Rng(3), 40_000, length)
        strings, counts = np.unique(batch.tokens[:, 1 : length + 1], axis=0, return_counts=True)
        by_split.append({tuple(s) for s in strings.tolist()})
        mean = len(batch) / len(strings)
        assert np.abs(counts - mean).max() < 5 * mean**0.5
        assert task.chance(length) == pytest.approx(1 / len(strings))
    space = itertools.permutations(range(symbols), length)
    every = space if unique else itertools.product(range(symbols), repeat=length)
    assert by_split[0] | by_split[1] == set(every) and not by_split[0] & by_split[1]
    assert (len(by_split[0]), len(by_split[1])) == (total - held, held)


@pytest.mark.parametrize(
    ("settings", "length", "named"),
    [
        ({"symbols": 1}, 3, "symbols = 1"),
        ({"symbols": 10_001}, 3, "symbols = 10001"),
        ({"unique": True, "symbols": 4}, 5, "length = 5 .* symbols = 4"),
        ({}, 0, "length = 0"),
        ({"split": "unseen"}, 3, "split = 'unseen'"),
    ],
)
def test_refusals_name_the_option(settings: dict[str, object], length: int, named: str) -> None:
    refuses(Copy, settings, length, named)


@given(task=options(Copy), length=st.integers(1, 40), seed=seeds)
def test_options_combine(task: Copy, length: int, seed: int) -> None:
    batch = drawn(task, seed, length)
    for row in batch.tokens.tolist():
        assert row[length + 2 :] == [*row[1 : length + 1], *task.stop]


@pytest.mark.parametrize(
    "task", [Copy(symbols=2), Copy(symbols=40, unique=True), Copy(symbols=6, split="test")]
)
def test_contract(task: Copy) -> None:
    check(task)
