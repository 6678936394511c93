"""flipflop against a plain automaton, and its split by listing all rows."""

import math
from collections import Counter, defaultdict
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.testing import decodable, droppable, options, seeds, solved, well_formed
from tasks import Batch, Role
from tasks.flipflop import FlipFlop

Row = tuple[int, ...]


def rows(task: FlipFlop, n: int, length: int, seed: int = 1) -> Batch:
    return task.sample(np.random.default_rng(seed), n, length)


def automaton(words: list[str]) -> dict[int, str]:
    """What each read at a place of the row must say."""
    told, state = {}, "?"
    for t in range(0, len(words), 2):
        if words[t] == "w":
            state = words[t + 1]
        elif words[t] == "r":
            told[t + 1] = state
        else:
            assert words[t] == "i"
    return told


@pytest.mark.parametrize(
    ("task", "length", "n"),
    [
        (FlipFlop(), 64, 4000),
        (FlipFlop(0.1), 64, 3000),
        (FlipFlop(0.98, split="test"), 256, 500),
        (FlipFlop(0.0, split="test"), 20, 1500),
        (FlipFlop(1.0), 20, 1000),
    ],
)
def test_automaton(task: FlipFlop, length: int, n: int) -> None:
    batch = rows(task, n, length)
    assert batch.tokens.shape == (n, 2 * length)
    for tokens, roles in zip(batch.tokens.tolist(), batch.roles.tolist(), strict=True):
        words = [task.words[token] for token in tokens]
        assert set(words[1::2]) <= {"0", "1"}
        told = automaton(words)
        assert {t: words[t] for t, role in enumerate(roles) if role == Role.ANSWER} == told
        assert {role for t, role in enumerate(roles) if t not in told} == {Role.PROMPT}
        assert (words[0], words[-2]) == ("w", "r")


def test_worked_row() -> None:
    words = FlipFlop().words
    prompt = [words.index(word) for word in ("w", "1", "i", "0", "r", "w", "0", "r")]
    assert FlipFlop().solve(prompt) == ([], [words.index("1"), words.index("0")])


@pytest.mark.parametrize("ignore", [0.8, 0.98, 0.1])
@pytest.mark.parametrize("split", ["train", "test"])
def test_rates(ignore: float, split: str) -> None:
    """The data card: ignores as told, the rest reads and writes in equal parts, fair bits."""
    tokens = rows(FlipFlop(ignore, split), 1500, 256).tokens
    what, bits = tokens[:, 2:-2:2], tokens[:, 1:-2:2]
    share = np.bincount(what.ravel(), minlength=3) / what.size
    assert np.abs(share - [(1 - ignore) / 2, (1 - ignore) / 2, ignore]).max() < 0.003
    assert abs((bits == 3).mean() - 0.5) < 0.005


@pytest.mark.parametrize("ignore", [-0.1, 1.1, float("nan")])
def test_bad_rates(ignore: float) -> None:
    with pytest.raises(ValueError, match=r"^ignore = .* cannot be used: a rate"):
        FlipFlop(ignore)


@pytest.mark.parametrize(("split", "length"), [("train", 1), ("train", 0), ("test", 2)])
def test_bad_lengths(split: str, length: int) -> None:
    with pytest.raises(ValueError, match=f"^length = {length} cannot be used"):
        rows(FlipFlop(split=split), 1, length)


def all_rows(length: int) -> dict[Row, tuple[Row, Row]]:
    """Every row of a length: its tokens -> (instructions, answers)."""
    answers_of = {}
    for middle in product((0, 1, 2), repeat=length - 2):
        what = (0, *middle, 1)
        for bits in product((3, 4), repeat=length):
            row, memory, answers, free = [], 0, [], True
            for instruction, bit in zip(what, bits, strict=True):
                if instruction == 0:
                    memory = bit
                elif instruction == 1:
                    free = free and bit == memory
                    answers.append(bit)
                row += [instruction, bit]
            if free:
                answers_of[tuple(row)] = (what, tuple(answers))
    return answers_of


@pytest.mark.parametrize("ignore", [0.8, 0.1, 0.0, 0.5])
@pytest.mark.parametrize("length", [2, 3, 6])
def test_chance_by_listing(ignore: float, length: int) -> None:
    rate = {0: (1 - ignore) / 2, 1: (1 - ignore) / 2, 2: ignore}
    share: dict[Row, float] = defaultdict(float)
    for what, answers in all_rows(length).values():
        coins = sum(instruction != 1 for instruction in what)
        share[answers] += math.prod(rate[i] for i in what[1:-1]) * 0.5**coins
    assert FlipFlop(ignore).chance(length) == pytest.approx(max(share.values()), abs=1e-12)


@pytest.mark.parametrize("length", [3, 4, 5])
def test_splits_by_listing(length: int) -> None:
    """Each row in one split; the test split has one row in 2^d of those with the same instructions
    and answers, d the bits (at most 4) that nobody reads, and none where d = 0."""
    every = all_rows(length)
    seen = {
        split: {tuple(row) for row in rows(FlipFlop(0.4, split), 80_000, length).tokens.tolist()}
        for split in ("train", "test")
    }
    assert not seen["train"] & seen["test"]
    assert seen["train"] | seen["test"] == set(every)
    total, held = Counter(every.values()), Counter(every[row] for row in seen["test"])
    for (what, answers), n in total.items():
        unread = n.bit_length() - 1  # n = 2^unread rows share instructions and answers
        wanted = n >> min(unread, 4) if unread else 0
        assert held[what, answers] == wanted, (what, answers)


@given(task=options(FlipFlop), seed=seeds, length=st.integers(3, 40))
def test_every_option_keeps_the_contract(task: FlipFlop, seed: int, length: int) -> None:
    for holds in (well_formed, solved, decodable, droppable):
        holds(task, seed, 4, length)
