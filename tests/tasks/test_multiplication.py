"""Multiplication against Python integers: closed form of every tape, splits by enumeration."""

from __future__ import annotations

import itertools
import re
import string
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.data.rows import Rows
from tasks._program import replay
from tasks.multiplication import Multiplication
from tests.tasks.common import check, digits_of, edits, many, printed, value

LETTERS = string.ascii_lowercase


def row_of(a: list[str], b: list[str], base: int) -> list[str]:
    """The whole row, each tape by itself from the two numbers, not from the tape before."""
    n, m, row = len(a), len(b), ["BOS", *a, "*", *b, "SEP"]
    for k in range(1, n + 1):
        total = digits_of(value(a[-k:], base) * value(b, base), base, k + m)
        carry = [LETTERS[int(digit)] for digit in total[:m]]
        row += [*a[: n - k], LETTERS[int(a[-k])], "*", *b, "+", *carry, *total[m:], "SEP"]
    return [*row, *digits_of(value(a, base) * value(b, base), base, n + m), "EOS"]


def after(tape: list[str]) -> list[str] | None:
    """One step on a printed tape."""
    match = re.fullmatch(r"(\d*)([a-j]?)\*(\d+)(\+([a-j]+)(\d+))?", "".join(tape))
    if match is None:
        return None
    a, _, b, _, carry, low = match.groups(default="")
    digits = "".join(str(LETTERS.index(letter)) for letter in carry or "a" * len(b))
    if not a:
        return list(digits + low)
    total = f"{int(a[-1]) * int(b) + int(digits):0{len(b) + 1}d}"
    letters = "".join(LETTERS[int(digit)] for digit in total[:-1])
    return list(f"{a[:-1]}{LETTERS[int(a[-1])]}*{b}+{letters}{total[-1]}{low}")


@pytest.mark.parametrize(
    ("prompt", "thought", "answer"),
    [
        ("4324*7", "432e*7+c8SEP43c*7+b68SEP4d*7+c268SEPe*7+d0268SEP", "30268"),
        ("12*345", "1c*345+agj0SEPb*345+aeb40SEP", "04140"),
    ],
)
def test_worked_examples(prompt: str, thought: str, answer: str) -> None:
    task = Multiplication(digits=len(prompt.split("*")[1]))
    token = {word: i for i, word in enumerate(task.words)}
    solution = task.solve([token[w] for w in ["BOS", *prompt, "SEP"]])
    assert "".join(task.words[t] for t in solution[0]) == thought
    assert [task.words[t] for t in solution[1]] == [*answer, "EOS"]


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize(
    ("base", "digits"), [(10, 1), (10, 2), (10, 3), (10, 16), (2, 16), (16, 1), (26, 12)]
)
@pytest.mark.parametrize("length", [1, 10, 25])
def test_every_tape_is_what_python_integers_say(
    length: int, base: int, digits: int, split: str
) -> None:
    task = Multiplication(digits, base, split)
    for row in printed(task, Rows(task, length, 1)[0 : 500 if base == 10 else 100]):
        times, end = row.index("*"), row.index("SEP")
        assert (times, end) == (length + 1, length + digits + 2)
        assert row == row_of(row[1:times], row[times + 1 : end], base)


def test_rows_in_base_10_are_those_of_before_there_were_bases() -> None:
    """Records name rows by their seed."""
    tokens = Rows(Multiplication(), 3, 0)[0:2].tokens[:, 1:6].tolist()
    assert tokens == [[9, 1, 0, 10, 9], [6, 8, 4, 10, 2]]


@pytest.mark.parametrize("digits", [1, 3])
def test_every_single_token_mutation_is_noticed(digits: int) -> None:
    task = Multiplication(digits)
    rng = np.random.default_rng(2)
    for row in printed(task, Rows(task, 4, 3)[0 : many(1000)]):
        assert replay(row, after) is None
        for place in range(row.index("SEP") + 1, len(row)):
            others = [word for word in task.words if word != row[place]]
            mutant = [*row[:place], others[rng.integers(len(others))], *row[place + 1 :]]
            assert replay(mutant, after) is not None, " ".join(mutant)


@given(length=st.integers(1, 20), digits=st.integers(1, 5), seed=st.integers(0, 999))
def test_a_step_takes_few_edits(length: int, digits: int, seed: int) -> None:
    """At most digits + 3, the last one 2 digits + 3, however long the first number is."""
    task = Multiplication(digits)
    for row in printed(task, task.sample(np.random.default_rng(seed), 3, length)):
        tapes = [part.split() for part in " ".join(row[1:-1]).split("SEP")]
        *steps, last = map(edits, tapes, tapes[1:])
        assert max(steps) <= digits + 3 and last <= 2 * digits + 3


@pytest.mark.parametrize(
    ("base", "length", "digits"), [(10, 1, 1), (10, 2, 1), (10, 1, 2), (2, 3, 2), (26, 1, 1)]
)
def test_splits_divide_all_pairs(base: int, length: int, digits: int) -> None:
    """By enumeration. Rows are uniform within a split, and `chance` is exact."""
    rows, by_split = 20_000, []
    for split in ("train", "test"):
        task = Multiplication(digits, base, split)
        tokens = task.sample(np.random.default_rng(4), rows, length).tokens
        pairs, counts = np.unique(tokens[:, 1 : length + digits + 2], axis=0, return_counts=True)
        mean = rows / len(pairs)
        assert np.abs(counts - mean).max() < 5 * mean**0.5
        by_split.append({tuple(pair) for pair in pairs.tolist()})
        numbers = [(value(p[:length], base), value(p[length + 1 :], base)) for p in by_split[-1]]
        products = Counter(a * b for a, b in numbers)
        assert task.chance(length) == pytest.approx(max(products.values()) / len(pairs))
    space = itertools.product(range(base), repeat=length + digits)
    every = {(*pair[:length], base, *pair[length:]) for pair in space}
    assert by_split[0] | by_split[1] == every and not by_split[0] & by_split[1]
    assert len(by_split[1]) * base == len(every)


def test_chance_without_enumeration_is_the_share_of_zero() -> None:
    for split in ("train", "test"):
        for length, digits in ((4, 1), (10, 1), (3, 2), (1, 4)):
            task = Multiplication(digits, split=split)
            batch = task.sample(np.random.default_rng(5), 40_000, length).without_thoughts()
            results = batch.tokens[:, length + digits + 3 : -1]
            share = (results == 0).all(1).mean()
            assert abs(share - task.chance(length)) < 5 * (task.chance(length) / 40_000) ** 0.5


def test_one_vocabulary() -> None:
    assert Multiplication().words == (*"0123456789*+abcdefghij", "BOS", "EOS", "SEP")
    assert Multiplication(3).words == Multiplication().words
    used = {
        word
        for row in printed(Multiplication(3), Rows(Multiplication(3), 20, 0)[0:200])
        for word in row
    }
    assert used == set(Multiplication().words)
    assert Multiplication(base=12).words[11:15] == ("11", "*", "+", "a")


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"digits": 0}, "digits = 0 cannot be used: from 1 to 16"),
        ({"digits": 17}, "digits = 17 cannot be used: from 1 to 16"),
        ({"base": 1}, "base = 1 cannot be used: from 2 to 26"),
        ({"base": 27}, "base = 27 cannot be used: from 2 to 26"),
        ({"base": 26, "digits": 13}, "digits = 13 cannot be used: from 1 to 12 in base 26"),
        ({"split": "dev"}, "split = 'dev' cannot be used"),
    ],
)
def test_bad_options_are_refused(bad: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Multiplication(**bad)  # type: ignore[arg-type]


def test_bad_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="length = 0 cannot be used: at least 1"):
        Multiplication(split="test").sample(np.random.default_rng(0), 1, 0)


@pytest.mark.parametrize(
    "task", [Multiplication(3), Multiplication(base=16), Multiplication(split="test")]
)
def test_contract(task: Multiplication) -> None:
    check(task)
