"""Addition of two numbers of n digits, as a Turing Program.

Row for 4324 + 139 (length 4), without the spaces between tokens:

    BOS 4324+0139 SEP
    432e+013j+b3 SEP 43c+01d+a63 SEP 4d+0b+a463 SEP e+a+a4463 SEP   04463 EOS
    thought                                                         answer

A tape has the digits of both numbers that are not added yet, the two under the head as letters
(a = 0 ... j = 9), and after the second + the carry out of them, as a letter, and the result so far.
A step takes at most 6 edits (insertions, deletions, replacements) of the tape before: the two
letters are removed, two digits and the carry change, a digit of the result is added. The last tape
is the last carry and the result; leading zeros stay.

Source: 2407.03310 (Turing Programs). From the paper: n + n digits, drawn uniformly, and a
vocabulary of 24 tokens, 0 to 9, +, a to j, BOS, EOS and SEP. Ours: the format of a tape and the
meaning of the letters (not found), both numbers of exactly `length` digits, and other bases than
10: there the words of the digits are their values, as in 13 for the digit d of hexadecimal numbers.

Coupled position ids couple digits of equal significance (position coupling, 2405.20671; the exact
ids are ours): units have 2, tens 3 and so on, in both numbers and in the result, and +, BOS, SEP
and EOS have 1. The thought uses the same ids, so a copied token keeps the id of its source, and a
carry has the id of the digit it is added to:

    tokens   BOS 4 3 + 0 9 SEP  4 d + 0 j + b 2 SEP  e + a + a 5 2 SEP  0 5 2 EOS
    ids      1   3 2 1 3 2 1    3 2 1 3 2 1 3 2 1    3 1 3 1 4 3 2 1    4 3 2 1

Held out: 1/10 of the pairs (1/base). The leading digit of the first number decides against a hash
of all other digits, which are uniform in both splits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from tasks import Batch, Role
from tasks._program import DIGITS, LETTERS, MEASURED_ROWS, TuringProgram, check_base
from tasks._split import draw_digit, held_out


@dataclass(frozen=True)
class Addition(TuringProgram):
    """`length` is the number of digits of each number."""

    base: Annotated[int, "number of values of a digit, 2 to 26"] = 10
    split: Annotated[str, "rows to draw: train, or test for held-out inputs"] = "train"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_base(self.base)

    @property
    def glyphs(self) -> tuple[str, ...]:
        return (*DIGITS[: self.base], "+", *LETTERS[: self.base])

    @property
    def _plus(self) -> int:
        return self.base

    @property
    def _a(self) -> int:
        """The letter of the digit 0."""
        return self.base + 1

    def chance(self, length: int) -> float:
        """b^n pairs have the sum b^n - 1; exact by enumeration for one and two digits, and where
        there are at most 65,536 pairs."""
        base = self.base
        if length > 2 and base ** (2 * length) > MEASURED_ROWS:
            return float(base) ** -length
        every = np.indices((base,) * (2 * length), np.uint8).reshape(2 * length, -1).T
        test = held_out(every[:, 0].astype(np.int64), _rest(every), base, 1)
        own = every[test == (self.split == "test")]
        return self.most_common(np.insert(own, length, self._plus, axis=1))

    def start(self, rng: np.random.Generator, n: int, length: int) -> np.ndarray:
        digits = rng.integers(0, self.base, (n, 2 * length), np.uint8)
        digits[:, 0] = draw_digit(rng, _rest(digits), self.base, 1, self.split == "test")
        tape = np.full((n, 2 * length + 1), self._plus, np.uint8)
        tape[:, :length], tape[:, length + 1 :] = digits[:, :length], digits[:, length:]
        return tape

    def run(self, tape: np.ndarray) -> tuple[list[np.ndarray], np.ndarray | None]:
        n, length, base, A = len(tape), tape.shape[1] // 2, self.base, self._a
        a, b = tape[:, :length], tape[:, length + 1 :]
        result, carry = np.empty_like(a), np.zeros(n, np.uint8)
        tapes = []
        for i in range(length - 1, -1, -1):
            total = a[:, i] + b[:, i] + carry
            carry = (total >= base).view(np.uint8)
            result[:, i] = total - base * carry
            after = np.full((n, i + 5 + length), self._plus, np.uint8)
            after[:, :i], after[:, i] = a[:, :i], a[:, i] + A
            after[:, i + 2 : 2 * i + 2], after[:, 2 * i + 2] = b[:, :i], b[:, i] + A
            after[:, 2 * i + 4], after[:, 2 * i + 5 :] = carry + A, result[:, i:]
            tapes.append(after)
        return [*tapes, np.concatenate([carry[:, None], result], 1)], None

    def follow(self, tape: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        n, A, plus = len(tape), self._a, np.flatnonzero(tape[0] == self._plus)
        a, b = tape[:, : plus[0]], tape[:, plus[0] + 1 :]
        carry, result = np.zeros((n, 1), tape.dtype), tape[:, :0]
        if len(plus) == 2:
            a, b = a[:, :-1], tape[:, plus[0] + 1 : plus[1] - 1]  # letters are added already
            carry, result = tape[:, plus[1] + 1 : plus[1] + 2] - A, tape[:, plus[1] + 2 :]
        if not a.shape[1]:
            return np.concatenate([carry, result], 1), np.ones(n, np.bool_)
        total, mark = a[:, -1:] + b[:, -1:] + carry, np.full_like(carry, self._plus)
        left, right = (np.concatenate([x[:, :-1], x[:, -1:] + A], 1) for x in (a, b))
        parts = [left, mark, right, mark, total // self.base + A, total % self.base, result]
        return np.concatenate(parts, 1), np.zeros(n, np.bool_)

    def noise_groups(self, length: int) -> tuple[Sequence[int], ...]:
        return range(self.base), range(self._a, self._a + self.base)

    def is_start(self, tape: list[int]) -> bool:
        plus, half = self.glyphs.index("+"), len(tape) // 2
        digits = tape[:half] + tape[half + 1 :]
        return (
            tape[half : half + 1] == [plus]
            and len(tape) % 2 == 1
            and max(digits, default=plus) < plus
        )

    def step(self, tape: list[int]) -> list[int] | None:
        mark, A = self._plus, self._a
        if mark not in tape:
            return None
        plus = tape.index(mark)
        a, b, out = tape[:plus], tape[plus + 1 :], [A]  # the carry into the units is 0
        if mark in b:
            a, b, out = a[:-1], b[:plus][:-1], b[plus + 1 :]  # letters are added already
        carry, result = out[0] - A, out[1:]
        if not a:
            return [carry, *result]
        total = a[-1] + b[-1] + carry
        marked = [*a[:-1], a[-1] + A, mark, *b[:-1], b[-1] + A, mark]
        return [*marked, total // self.base + A, total % self.base, *result]

    def positions(self, batch: Batch) -> np.ndarray | None:
        tokens, t = batch.tokens, np.arange(batch.tokens.shape[1])
        plus, bos = self._plus, len(self.glyphs)
        mark = (tokens == plus) | (tokens >= bos)
        behind = np.where(mark, t, len(t) - 1)[:, ::-1]
        behind = np.minimum.accumulate(behind, axis=1)[
            :, ::-1
        ]  # position of the next mark, or of this one
        # In a step, digits before a + belong to the numbers; each earlier step has removed one.
        thought = batch.roles == Role.THOUGHT
        number = thought & (np.take_along_axis(tokens, behind, 1) == plus)
        spent = np.where(number, ((tokens == bos + 2) & thought).cumsum(1), 0)
        return np.where(batch.roles == Role.PAD, 0, np.where(mark, 1, behind - t + 1 + spent))


def _rest(digits: np.ndarray) -> np.ndarray:
    return digits[:, 1:]
