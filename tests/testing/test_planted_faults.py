"""One small sound task, and one fault at a time planted in it: each is named, and reported once."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from lab.testing import Finding, findings
from tasks import Batch, Role, Task, refuse

_EQUALS = 10


@dataclass(frozen=True)
class Sum(Task):
    """The last digit of a sum: 3 1 4 = 8. The first digit decides the split."""

    split: str = "train"

    @property
    def words(self) -> tuple[str, ...]:
        return (*"0123456789", "=")

    def chance(self, length: int) -> float:
        return 0.1

    def digits(self, rng: np.random.Generator, n: int, length: int) -> np.ndarray:
        digits = rng.integers(0, 10, (n, length))
        digits[:, 0] = rng.integers(0, 8, n) if self.split == "train" else rng.integers(8, 10, n)
        return digits

    def answers(self, digits: np.ndarray) -> np.ndarray:
        answers: np.ndarray = digits.sum(1) % 10
        return answers

    def sample(self, rng: np.random.Generator, n: int, length: int) -> Batch:
        if length < 3:
            raise refuse("length", length, "at least 3")
        digits = self.digits(rng, n, length)
        tokens = np.full((n, digits.shape[1] + 2), _EQUALS)
        tokens[:, :-2], tokens[:, -1] = digits, self.answers(digits)
        roles = np.full(tokens.shape, Role.PROMPT, np.uint8)
        roles[:, -1] = Role.ANSWER
        return Batch(tokens, roles)

    def solve(self, prompt: Sequence[int], hidden: Sequence[int] = ()) -> Any:
        *digits, mark = prompt
        if mark != _EQUALS or max(digits) > 9:
            raise refuse("prompt", list(prompt), "digits, then =")
        return [], [sum(digits) % 10]


@dataclass(frozen=True)
class Bits(Sum):
    """A binary task: the XOR of bits 1, 3 and 5."""

    read = (1, 3, 5)

    @property
    def words(self) -> tuple[str, ...]:
        return ("0", "1")

    def chance(self, length: int) -> float:
        return 0.5

    def no_shortcut(self, length: int) -> bool:
        return True

    def sample(self, rng: np.random.Generator, n: int, length: int) -> Batch:
        if length < 8:
            raise refuse("length", length, "at least 8")
        tokens = rng.integers(0, 2, (n, length + 1))
        tokens[:, 0] = self.split == "test"
        tokens[:, -1] = np.bitwise_xor.reduce(tokens[:, self.read], axis=1)
        roles = np.full(tokens.shape, Role.PROMPT, np.uint8)
        roles[:, -1] = Role.ANSWER
        return Batch(tokens, roles)

    def solve(self, prompt: Sequence[int], hidden: Sequence[int] = ()) -> Any:
        return [], [sum(prompt[i] for i in self.read) % 2]


def change(tokens: np.ndarray, batch: Batch) -> Batch:
    return Batch(tokens, batch.roles, batch.hidden)


class WrongBehindTheFirstRows(Sum):
    def answers(self, digits: np.ndarray) -> np.ndarray:
        return (digits.sum(1) + (np.arange(len(digits)) >= 8)) % 10


class WrongInLongRows(Sum):
    def answers(self, digits: np.ndarray) -> np.ndarray:
        return (digits.sum(1) + (digits.shape[1] > 40)) % 10


class RaisesInLongRows(Sum):
    def answers(self, digits: np.ndarray) -> np.ndarray:
        return super().answers(digits) + np.zeros(90, np.int64)[digits.shape[1]]


class IgnoresLength(Sum):
    def digits(self, rng: np.random.Generator, n: int, length: int) -> np.ndarray:
        return super().digits(rng, n, 6)


class DependsOnNumber(Sum):
    def digits(self, rng: np.random.Generator, n: int, length: int) -> np.ndarray:
        digits = super().digits(rng, n, length)
        if n > 500:
            digits[:, -1] = np.maximum(digits[:, -1], rng.integers(0, 10, n))
        return digits


class DependsOnIndex(Sum):
    def digits(self, rng: np.random.Generator, n: int, length: int) -> np.ndarray:
        digits = super().digits(rng, n, length)
        digits[:, 1] = digits[:, 1] // 2 * 2 + np.arange(n) % 2
        return digits


class SortsRows(Sum):
    def digits(self, rng: np.random.Generator, n: int, length: int) -> np.ndarray:
        digits = super().digits(rng, n, length)
        return digits[digits[:, 1].argsort()]


class FollowsTheRowBefore(Sum):
    def digits(self, rng: np.random.Generator, n: int, length: int) -> np.ndarray:
        digits = super().digits(rng, n, length)
        digits[1::2, 2] = digits[: n - 1 : 2, 2]
        return digits


class RepeatsRows(Sum):
    def digits(self, rng: np.random.Generator, n: int, length: int) -> np.ndarray:
        digits = super().digits(rng, n, length)
        digits[n - n // 4 :] = digits[: n // 4]
        return digits


class OneRowIsFixed(Sum):
    def digits(self, rng: np.random.Generator, n: int, length: int) -> np.ndarray:
        digits = super().digits(rng, n, length)
        if n > 700:
            digits[700] = super().digits(np.random.default_rng(length), 1, length)
        return digits


class FewBlocks(Sum):
    def digits(self, rng: np.random.Generator, n: int, length: int) -> np.ndarray:
        return super().digits(np.random.default_rng(rng.integers(500)), n, length)


class PythonsRandom(Sum):
    def digits(self, rng: np.random.Generator, n: int, length: int) -> np.ndarray:
        return super().digits(rng, n, length + (random.random() > 2))


class LoopsOverRows(Sum):
    def answers(self, digits: np.ndarray) -> np.ndarray:
        return np.array([sum(row) % 10 for row in digits.tolist()])


class IgnoresSplit(Sum):
    def digits(self, rng: np.random.Generator, n: int, length: int) -> np.ndarray:
        return rng.integers(0, 10, (n, length))


class SameWordTwice(Sum):
    words = (*"0123456781", "=")  # type: ignore[assignment]


class WordWithASpace(Sum):
    words = (*"0123456789", "is =")  # type: ignore[assignment]


class NoWord(Sum):
    def answers(self, digits: np.ndarray) -> np.ndarray:
        return np.where(digits[:, 1] == 7, 11, super().answers(digits))


class GivesAnArray(Sum):
    def sample(self, rng: np.random.Generator, n: int, length: int) -> Any:
        return super().sample(rng, n, length).tokens


class GivesLists(Sum):
    def sample(self, rng: np.random.Generator, n: int, length: int) -> Any:
        batch = super().sample(rng, n, length)
        return Batch(batch.tokens.tolist(), batch.roles)  # type: ignore[arg-type]


class GivesFloats(Sum):
    def sample(self, rng: np.random.Generator, n: int, length: int) -> Batch:
        batch = super().sample(rng, n, length)
        return change(batch.tokens * 1.0, batch)


class RaisesForManyRows(Sum):
    def sample(self, rng: np.random.Generator, n: int, length: int) -> Batch:
        return super().sample(rng, {1: 1}[n], length)


class SolvesToAList(Sum):
    def solve(self, prompt: Sequence[int], hidden: Sequence[int] = ()) -> Any:
        return super().solve(prompt)[1]


class AnyMark(Sum):
    def solve(self, prompt: Sequence[int], hidden: Sequence[int] = ()) -> Any:
        return [], [sum(prompt[:-1]) % 10]


class NeverEnds(Sum):
    def solve(self, prompt: Sequence[int], hidden: Sequence[int] = ()) -> Any:
        place = 0
        while prompt[place] != _EQUALS:
            place = (place + 1) % len(prompt)
        return super().solve([*prompt[:place], _EQUALS])


class Refuses(Sum):
    def valid(self, prompt: Sequence[int]) -> bool:
        return prompt[1] != 7


class OneBit(Bits):
    read = (3,)  # type: ignore[assignment]


class TwoBits(Bits):
    read = (3, 5)  # type: ignore[assignment]


class ScoresAnotherPart(Sum):
    def solve_scored(
        self, before: Sequence[int], hidden: Sequence[int] = (), cot: bool = True
    ) -> tuple[list[int], list[int]]:
        return [], [sum(before[:-2]) % 10]


FAULTS: dict[type[Task], str] = {
    ScoresAnotherPart: "solve_scored does not compute the scored part",
    WrongBehindTheFirstRows: r"a block of 1,024 rows of length 3: row \d+ has token 0 of the answer"
    r" wrong: .* has answer '\d', solve says '\d'",
    WrongInLongRows: r"a block of 1,024 rows of length 256: row 0 has token 0 of the answer wrong",
    RaisesInLongRows: "length 96: sample raises IndexError: index 96 is out of bounds",
    IgnoresLength: r"the rows of lengths \d+ and \d+ are the same: length is ignored",
    DependsOnNumber: "depends on the number of rows: 1 to 9 rows differ from 1,024",
    DependsOnIndex: r"the token at position 1 depends on the index .* \(even and odd",
    SortsRows: "the token at position 1 depends on the index of the row in its block",
    FollowsTheRowBefore: "the token at position 2 depends on the row before it",
    RepeatsRows: "rows repeat within a block of 1,024: 2048 pairs are equal, 0 by chance",
    OneRowIsFixed: "rows are the same at the same index of every block",
    FewBlocks: r"256 calls .* only \d+ different batches .*: rows come from about \d\d\d blocks",
    PythonsRandom: "sample draws from the generator of Python's random module",
    IgnoresSplit: "train and test have the same rows: sample ignores split",
    SameWordTwice: "tokens 1 and 9 have the same word '1'",
    WordWithASpace: "the word 'is =' of token 10 is empty or holds a space",
    NoWord: r"a token without a word: there are 11, ids from 0 \(token 11 at position \d+\)",
    RaisesForManyRows: r"KeyError: \d",
    SolvesToAList: r"solve must return \(thought, answer\), two lists .*; it returned \[\d\]",
    AnyMark: "no row has .* of its prompt, but solve accepts '",
    NeverEnds: "but solve does not end for '",
    Refuses: "valid refuses the row '. 7",
    OneBit: "length 40: the token at position 3 alone predicts 1.000 of answers",
    TwoBits: "length 40: the XOR of the tokens at positions 3 and 5 predicts 1.000",
}


def broken(task: Task) -> list[Finding]:
    return [finding for finding in findings(task, 10) if finding.broken]


@pytest.mark.parametrize("task", [Sum(), Bits(), Sum(split="test")], ids=str)
def test_the_sound_tasks_pass(task: Task) -> None:
    assert broken(task) == []


@pytest.mark.parametrize("fault", FAULTS, ids=lambda cls: cls.__name__)
def test_a_fault_is_named_once(fault: type[Task]) -> None:
    (finding,) = broken(fault())
    assert finding.broken is not None
    assert re.search(FAULTS[fault], finding.broken), finding.broken


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (GivesAnArray, "sample of .* must return a tasks.Batch, it returned a ndarray"),
        (GivesLists, "tokens of .*sample must be an array of int64 with 1 rows, it is a list"),
        (GivesFloats, r"it is a float64 array of shape \(1, 5\)"),
    ],
)
def test_wrong_types_say_what_was_expected(fault: type[Task], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        list(findings(fault(), 5))


def notes(task: Task) -> str:
    return "\n".join(finding.note for finding in findings(task, 5) if finding.note)


def test_speed_and_a_loop_over_rows_are_told() -> None:
    line = LoopsOverRows.answers.__code__.co_firstlineno + 1
    told = notes(LoopsOverRows())
    assert f"test_planted_faults.py, line {line} runs once for every row" in told
    assert "rows a second of CPU at length" in told
    assert "Python loop" not in notes(Sum())


def test_a_binary_answer_without_no_shortcut_is_noted() -> None:
    class Silent(OneBit):
        no_shortcut = Task.no_shortcut

    told = notes(Silent())
    assert "no_shortcut is not claimed; the token at position 3 alone predicts 1.000" in told
    assert "no_shortcut" not in notes(Bits())
