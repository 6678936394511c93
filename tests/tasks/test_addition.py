"""Addition against Python integers in every base: closed form of every tape, splits by enumeration,
position ids."""

from __future__ import annotations

import itertools
import re
import string
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.data.rows import Rows, join
from tasks import Batch, Role
from tasks._program import replay
from tasks.addition import Addition
from tests.tasks.common import check, digits_of, edits, many, printed, value

LETTERS = string.ascii_lowercase


def row_of(a: list[str], b: list[str], base: int) -> list[str]:
    """The whole row, each tape by itself from the two numbers, not from the tape before."""
    n, row = len(a), ["BOS", *a, "+", *b, "SEP"]
    for k in range(1, n + 1):
        total = digits_of(value(a[-k:], base) + value(b[-k:], base), base, k + 1)
        carry, low = LETTERS[int(total[0])], total[1:]
        row += [*a[: n - k], LETTERS[int(a[-k])], "+", *b[: n - k], LETTERS[int(b[-k])]]
        row += ["+", carry, *low, "SEP"]
    return [*row, *digits_of(value(a, base) + value(b, base), base, n + 1), "EOS"]


def after(tape: list[str]) -> list[str] | None:
    """One step on a printed tape."""
    match = re.fullmatch(r"(\d*)([a-j]?)\+(\d*)([a-j]?)(\+([ab])(\d+))?", "".join(tape))
    if match is None:
        return None
    a, _, b, _, _, carry, low = match.groups(default="")
    carry = carry or "a"
    if not a:
        return list("01"["ab".index(carry)] + low)
    total = int(a[-1]) + int(b[-1]) + "ab".index(carry)
    marked = f"{a[:-1]}{LETTERS[int(a[-1])]}+{b[:-1]}{LETTERS[int(b[-1])]}"
    return list(f"{marked}+{'ab'[total > 9]}{total % 10}{low}")


def test_worked_example() -> None:
    task = Addition()
    token = {word: i for i, word in enumerate(task.words)}
    thought, answer = task.solve([token[w] for w in ["BOS", *"4324+0139", "SEP"]])
    assert "".join(task.words[t] for t in thought) == (
        "432e+013j+b3SEP43c+01d+a63SEP4d+0b+a463SEPe+a+a4463SEP"
    )
    assert [task.words[t] for t in answer] == [*"04463", "EOS"]


def test_the_vocabulary_has_24_tokens() -> None:
    assert Addition().words == (*"0123456789+abcdefghij", "BOS", "EOS", "SEP")
    used = {word for row in printed(Addition(), Rows(Addition(), 20, 0)[0:200]) for word in row}
    assert used == set(Addition().words)


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("base", [2, 7, 10, 16, 26])
@pytest.mark.parametrize("length", [1, 2, 5, 20, 31])
def test_every_tape_is_what_python_integers_say(length: int, base: int, split: str) -> None:
    task = Addition(base, split)
    for row in printed(task, Rows(task, length, 1)[0 : 1000 if base == 10 else 100]):
        assert row == row_of(row[1 : length + 1], row[length + 2 : 2 * length + 2], base)


def test_rows_in_base_10_are_those_of_before_there_were_bases() -> None:
    """Records name rows by their seed."""
    tokens = Rows(Addition(), 3, 0)[0:2].tokens[:, 1:8].tolist()
    assert tokens == [[0, 1, 0, 10, 9, 1, 8], [5, 2, 1, 10, 4, 7, 0]]


@pytest.mark.parametrize("base", [2, 16, 26])
def test_other_bases_have_words_of_their_own(base: int) -> None:
    task = Addition(base)
    used = {word for row in printed(task, Rows(task, 20, 0)[0:300]) for word in row}
    assert used == set(task.words) and len(task.words) == 2 * base + 4
    assert task.words[base - 1 : base + 2] == (str(base - 1), "+", "a")


def test_every_single_token_mutation_is_noticed() -> None:
    task = Addition()
    rng = np.random.default_rng(2)
    for row in printed(task, Rows(task, 5, 3)[0 : many(1000)]):
        assert replay(row, after) is None
        for place in range(row.index("SEP") + 1, len(row)):
            others = [word for word in task.words if word != row[place]]
            mutant = [*row[:place], others[rng.integers(len(others))], *row[place + 1 :]]
            assert replay(mutant, after) is not None, " ".join(mutant)


@given(length=st.integers(1, 24), seed=st.integers(0, 999))
def test_a_step_takes_at_most_6_edits(length: int, seed: int) -> None:
    for row in printed(Addition(), Addition().sample(np.random.default_rng(seed), 3, length)):
        tapes = [part.split() for part in " ".join(row[1:-1]).split("SEP")]
        assert max(map(edits, tapes, tapes[1:])) <= 6


@pytest.mark.parametrize(
    ("base", "length", "rows"),
    [(10, 1, 3000), (10, 2, 200_000), (2, 3, 3000), (3, 2, 3000), (26, 1, 10_000)],
)
def test_splits_divide_all_pairs(base: int, length: int, rows: int) -> None:
    """By enumeration. Rows are uniform within a split, and `chance` is exact."""
    by_split = []
    for split in ("train", "test"):
        task = Addition(base, split)
        tokens = task.sample(np.random.default_rng(4), rows, length).tokens
        pairs, counts = np.unique(tokens[:, 1 : 2 * length + 2], axis=0, return_counts=True)
        mean = rows / len(pairs)
        assert np.abs(counts - mean).max() < 5.5 * mean**0.5
        by_split.append({tuple(pair) for pair in pairs.tolist()})
        numbers = [(value(p[:length], base), value(p[length + 1 :], base)) for p in by_split[-1]]
        sums = Counter(a + b for a, b in numbers)
        assert task.chance(length) == pytest.approx(max(sums.values()) / len(pairs))
    digits = itertools.product(range(base), repeat=2 * length)
    every = {(*pair[:length], base, *pair[length:]) for pair in digits}
    assert by_split[0] | by_split[1] == every and not by_split[0] & by_split[1]
    assert len(by_split[1]) * base == len(every)


def test_operands_are_uniform_in_both_splits() -> None:
    n = 20_000
    for split in ("train", "test"):
        tokens = Addition(split=split).sample(np.random.default_rng(5), n, 8).tokens
        for place in (*range(1, 9), *range(10, 18)):
            counts = np.bincount(tokens[:, place], minlength=10)
            assert np.abs(counts - n / 10).max() < 5 * (n / 10) ** 0.5


def test_positions_of_the_worked_example() -> None:
    task = Addition()
    token = {word: i for i, word in enumerate(task.words)}
    prompt = [token[w] for w in ["BOS", *"43+09", "SEP"]]
    thought, answer = task.solve(prompt)
    kinds = (
        [Role.PROMPT] * len(prompt) + [Role.THOUGHT] * len(thought) + [Role.ANSWER] * len(answer)
    )
    batch = Batch(np.array([prompt + thought + answer]), np.array([kinds], np.uint8))
    ids = task.positions(batch)
    assert ids is not None
    text = "1 3 2 1 3 2 1  3 2 1 3 2 1 3 2 1  3 1 3 1 4 3 2 1  4 3 2 1"
    assert ids.tolist() == [[int(i) for i in text.split()]]
    bare = task.positions(batch.without_thoughts())
    assert bare is not None and bare.tolist() == [[1, 3, 2, 1, 3, 2, 1, 4, 3, 2, 1]]


@given(lengths=st.tuples(st.integers(1, 9), st.integers(1, 9)), seed=st.integers(0, 999))
@pytest.mark.parametrize("cot", [False, True])
@pytest.mark.parametrize("base", [10, 17])
def test_positions_couple_digits_of_one_significance(
    base: int, cot: bool, lengths: tuple[int, int], seed: int
) -> None:
    """Also in a batch of two lengths. The ids alone, without the order, say what a tape means."""
    task = Addition(base)
    batch = join([task.sample(np.random.default_rng(seed), 3, length) for length in lengths])
    batch = batch if cot else batch.without_thoughts()
    ids = task.positions(batch)
    assert ids is not None and ids.dtype == np.int64 and not ids[batch.roles == Role.PAD].any()
    for r, row in enumerate(printed(task, batch)):
        length, own = lengths[r // 3], ids[r, : len(row)].tolist()
        tapes: list[list[dict[int, str]]] = [[{}]]
        for word, place in zip(row[1:], own[1:], strict=True):
            if word in ("+", "SEP", "EOS"):
                assert place == 1
                tapes.append([{}]) if word != "+" else tapes[-1].append({})
            else:
                assert place >= 2 and place not in tapes[-1][-1]
                tapes[-1][-1][place] = word
        assert own[0] == 1
        (a, b), *steps, (result,), _ = tapes
        assert set(a) == set(b) == set(range(2, length + 2))
        found = sum(int(digit) * base ** (place - 2) for place, digit in result.items())
        total = sum(int(d) * base ** (p - 2) for number in (a, b) for p, d in number.items())
        assert found == total and set(result) == set(range(2, length + 3))
        for k, (left_a, left_b, low) in enumerate(steps):
            for number, left in ((a, left_a), (b, left_b)):
                assert set(left) == set(range(k + 2, length + 2))
                assert all(left[p] == number[p] for p in left if p > k + 2)
                assert left[k + 2] == LETTERS[int(number[k + 2])]
            assert set(low) == set(range(2, k + 4)) and low[k + 3] in "ab"
            assert all(low[p] == result[p] for p in range(2, k + 3))


def test_positions_when_the_prompt_is_read_twice() -> None:
    task = Addition()
    batch = Rows(task, 4, 6)[0:5]
    once, twice = task.positions(batch), task.positions(batch.repeat_prompt(2))
    assert once is not None and twice is not None
    assert (twice[:, 11:] == once).all() and (twice[:, :11] == once[:, :11]).all()


def test_bad_options_are_refused() -> None:
    with pytest.raises(ValueError, match="split = 'dev' cannot be used"):
        Addition(split="dev")
    for base in (1, 27):
        with pytest.raises(ValueError, match=f"base = {base} cannot be used: from 2 to 26"):
            Addition(base)
    for length in (0, -3):
        with pytest.raises(ValueError, match=f"length = {length} cannot be used: at least 1"):
            Addition().sample(np.random.default_rng(0), 1, length)


@pytest.mark.parametrize("task", [Addition(split="test"), Addition(16)])
def test_contract(task: Addition) -> None:
    check(task)
