"""Planted sparse parity, against what a reader of the printed row would say."""

import itertools
import re
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.data.rows import join
from lab.testing import first_error, options, seeds
from tasks import Role
from tasks.planted import Planted
from tests.tasks.common import check, drawn, refuses

Rng = np.random.default_rng


def _bits(task: Planted, prompt: list[int]) -> list[int]:
    """The planted bits as a reader sees them."""
    return [int(bit) for bit in re.findall("[01]", " ".join(task.words[t] for t in prompt))]


def test_worked_example() -> None:
    task = Planted(k=3)
    row = "c 1 a a 0 d 1 b"
    prompt = [task.words.index(word) for word in row.split()]
    assert task.solve(prompt) == ([0, 1, 1], [0])


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize(("k", "length"), [(6, 20), (2, 9), (12, 12)])
def test_counting_ones_agrees(split: str, k: int, length: int) -> None:
    task = Planted(k=k, split=split)
    batch = task.sample(Rng(1), 1700, length)
    for row in batch.tokens.tolist():
        prompt, written = row[:length], row[length:]
        bits = _bits(task, prompt)
        assert len(bits) == k
        assert written == [bits[:j].count(1) % 2 for j in range(k + 1)]
    assert batch.roles[0].tolist() == [Role.PROMPT] * length + [Role.THOUGHT] * k + [Role.ANSWER]


def test_replay_rejects_every_mutated_thought() -> None:
    task = Planted()
    batch = task.sample(Rng(2), 1000, 20)
    rng = Rng(3)

    def replays(row: list[int]) -> bool:
        parity = 0
        for bit, written in zip(_bits(task, row[:20]), row[20:-1], strict=True):
            if written != parity:
                return False
            parity ^= bit
        return row[-1] == parity

    for row in batch.tokens.tolist():
        assert replays(row)
        for place in range(20, 26):
            other = int(rng.integers(0, len(task.words) - 1))
            mutant = [*row[:place], other + (other >= row[place]), *row[place + 1 :]]
            assert not replays(mutant)


@pytest.mark.parametrize(
    ("length", "k", "background", "held"), [(4, 2, 1, 1 / 2), (5, 3, 2, 1 / 4), (7, 6, 2, 1 / 16)]
)
def test_splits_divide_all_prompts(length: int, k: int, background: int, held: float) -> None:
    """By enumeration; each split is uniform and its answers are balanced exactly."""
    by_split = []
    for split in ("train", "test"):
        task = Planted(k, background, split)
        batch = task.sample(Rng(4), 40_000, length)
        prompts, counts = np.unique(batch.tokens[:, :length], axis=0, return_counts=True)
        mean = len(batch) / len(prompts)
        assert np.abs(counts - mean).max() < 5 * mean**0.5
        by_split.append({tuple(p) for p in prompts.tolist()})
        assert 2 * sum(task.solve(p)[1][0] for p in by_split[-1]) == len(by_split[-1])
    symbols = range(background + 2)
    every = {p for p in itertools.product(symbols, repeat=length) if sum(t < 2 for t in p) == k}
    assert len(every) == comb(length, k) * 2**k * background ** (length - k)
    assert by_split[0] | by_split[1] == every and not by_split[0] & by_split[1]
    assert len(by_split[1]) == held * len(every)


def test_positions_of_the_worked_example() -> None:
    """Printed rows with the bits where the docstring has them carry the docstring's ids."""
    task = Planted(k=3)
    batch = task.sample(Rng(5), 3000, 8)
    ids = task.positions(batch)
    assert ids is not None
    same = ((batch.tokens[:, :8] < 2) == [0, 1, 0, 0, 1, 0, 1, 0]).all(1)
    assert same.any() and (ids[same] == [1, 2, 3, 4, 5, 6, 7, 8, 2, 5, 7, 9]).all()


@given(lengths=st.tuples(st.integers(6, 14), st.integers(6, 14)), bare=st.booleans(), seed=seeds)
def test_positions_bring_each_thought_to_its_bit(
    lengths: tuple[int, int], bare: bool, seed: int
) -> None:
    """The successor of a thought token is its XOR with the prompt token of the same id."""
    task = Planted()
    rows = join([task.sample(Rng(seed), 3, length) for length in lengths])
    rows = rows.without_thoughts() if bare else rows
    ids = task.positions(rows)
    assert ids is not None and ids.dtype == np.int64
    for row, (tokens, roles, own) in enumerate(zip(rows.tokens, rows.roles, ids, strict=True)):
        length = lengths[row // 3]
        assert own[:length].tolist() == list(range(1, length + 1))
        assert own[roles == Role.ANSWER].tolist() == [length + 1]
        assert not own[roles == Role.PAD].any()
        for t in np.flatnonzero(roles == Role.THOUGHT):
            bit = tokens[own[t] - 1]
            assert bit < 2 and tokens[t + 1] == tokens[t] ^ bit
            assert own[t] > own[t - 1] or t == length


@pytest.mark.parametrize(
    ("settings", "length", "named"),
    [
        ({"k": 1}, 3, "k = 1"),
        ({"background": 0}, 8, "background = 0"),
        ({"background": 251}, 8, "background = 251"),
        ({"k": 9}, 8, "length = 8 .* at least k = 9"),
        ({}, 0, "length = 0"),
        ({"split": "seen"}, 8, "split = 'seen'"),
    ],
)
def test_refusals_name_the_option(settings: dict[str, object], length: int, named: str) -> None:
    refuses(Planted, settings, length, named)


@given(task=options(Planted), length=st.integers(2, 40), seed=seeds)
def test_options_combine(task: Planted, length: int, seed: int) -> None:
    batch = drawn(task, seed, length)
    assert [first_error(task, batch, row) for row in range(2)] == [None, None]


@pytest.mark.parametrize(
    "task", [Planted(k=2, background=1), Planted(k=3, background=30, split="test")]
)
def test_contract(task: Planted) -> None:
    check(task)
