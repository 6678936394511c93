"""Multiplication of a number of n digits by one of m digits, as a Turing Program.

Row for 4324 * 7 (length 4, digits 1), without the spaces between tokens:

    BOS 4324*7 SEP
    432e*7+c8 SEP 43c*7+b68 SEP 4d*7+c268 SEP e*7+d0268 SEP   30268 EOS
    thought                                                   answer

A step multiplies the last remaining digit of the first number by the whole second number and adds
the carry. A tape has the remaining digits, the one under the head as a letter (a = 0 ... j = 9),
then the second number, the carry as m letters, and the result so far. The carry stays below base^m,
so m letters are enough. A step takes at most m + 3 edits (insertions, deletions, replacements) of
the tape before, whatever n is; the last step takes 2m + 3. The last tape is the last carry and the
result, n + m digits; leading zeros stay.

Source: 2407.03310 (Turing Programs). From the paper: n x 1 and n x 3 digits, drawn uniformly. Ours:
the format of a tape (not found), any m and any base (words of digits: tasks/addition.py), and one
step for m digit products at once; a step for each product would make rows m times as long.

Held out: 1/10 of the pairs (1/base). The leading digit of the first number decides against a hash
of all other digits, which are uniform in both splits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from tasks import refuse
from tasks._program import DIGITS, LETTERS, MEASURED_ROWS, TuringProgram, check_base
from tasks._split import draw_digit, held_out


@dataclass(frozen=True)
class Multiplication(TuringProgram):
    """`length` is the number of digits of the first number."""

    digits: Annotated[int, "number of digits of the second number, 1 to 16"] = 1
    base: Annotated[int, "number of values of a digit, 2 to 26"] = 10
    split: Annotated[str, "rows to draw: train, or test for held-out inputs"] = "train"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_base(self.base)
        most = max(m for m in range(1, 17) if self.base ** (m + 1) < 2**63)  # products fit 64 bits
        if not 1 <= self.digits <= most:
            where = "" if most == 16 else f" in base {self.base}"
            raise refuse("digits", self.digits, f"from 1 to {most}{where}")

    @property
    def glyphs(self) -> tuple[str, ...]:
        return (*DIGITS[: self.base], "*", "+", *LETTERS[: self.base])

    @property
    def _times(self) -> int:
        return self.base

    @property
    def _plus(self) -> int:
        return self.base + 1

    @property
    def _a(self) -> int:
        """The letter of the digit 0."""
        return self.base + 2

    def chance(self, length: int) -> float:
        """Zero is the most common product; exact by enumeration for up to four digits together, and
        where there are at most 65,536 pairs."""
        base, both = self.base, length + self.digits
        if both > 4 and base**both > MEASURED_ROWS:
            return float(base) ** -self.digits + float(base) ** -length - float(base) ** -both
        every = np.indices((base,) * both, np.uint8).reshape(both, -1).T
        test = held_out(every[:, 0].astype(np.int64), every[:, 1:], base, 1)
        own = every[test == (self.split == "test")]
        return self.most_common(np.insert(own, length, self._times, axis=1))

    def start(self, rng: np.random.Generator, n: int, length: int) -> np.ndarray:
        digits = rng.integers(0, self.base, (n, length + self.digits), np.uint8)
        digits[:, 0] = draw_digit(rng, digits[:, 1:], self.base, 1, self.split == "test")
        return np.insert(digits, length, self._times, axis=1)

    def run(self, tape: np.ndarray) -> tuple[list[np.ndarray], np.ndarray | None]:
        m, base, A = self.digits, self.base, self._a
        n, length = len(tape), tape.shape[1] - m - 1
        a, b = tape[:, :length], tape[:, length + 1 :]
        power = base ** np.arange(m - 1, -1, -1)
        factor, carry = b.astype(np.int64) @ power, np.zeros(n, np.int64)
        result = np.empty_like(a)
        tapes = []
        for i in range(length - 1, -1, -1):
            carry, result[:, i] = np.divmod(a[:, i] * factor + carry, base)
            carried = (carry[:, None] // power % base).astype(np.uint8)
            after = np.empty((n, 2 * m + length + 3), np.uint8)
            after[:, :i], after[:, i], after[:, i + 1] = a[:, :i], a[:, i] + A, self._times
            after[:, i + 2 : i + 2 + m], after[:, i + 2 + m] = b, self._plus
            after[:, i + 3 + m : i + 3 + 2 * m] = carried + A
            after[:, i + 3 + 2 * m :] = result[:, i:]
            tapes.append(after)
        return [*tapes, np.concatenate([carried, result], 1)], None

    def follow(self, tape: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        m, base, A = self.digits, self.base, self._a
        n, times = len(tape), int((tape[0] == self._times).argmax())
        a, b, out = tape[:, :times], tape[:, times + 1 : times + 1 + m], tape[:, times + 2 + m :]
        power = base ** np.arange(m - 1, -1, -1)
        if out.shape[1]:
            a, carry, result = a[:, :-1], out[:, :m] - A, out[:, m:]
        else:
            carry, result = np.zeros_like(b), out
        if not a.shape[1]:
            return np.concatenate([carry, result], 1), np.ones(n, np.bool_)
        total = a[:, -1].astype(np.int64) * (b @ power) + carry @ power
        carry = total[:, None] // (base * power) % base + A
        mark = np.full((n, 1), self._times)
        left = [a[:, :-1], a[:, -1:] + A, mark, b, mark + 1]
        return np.concatenate([*left, carry, total[:, None] % base, result], 1), np.zeros(
            n, np.bool_
        )

    def noise_groups(self, length: int) -> tuple[Sequence[int], ...]:
        return range(self.base), range(self._a, self._a + self.base)

    def is_start(self, tape: list[int]) -> bool:
        times, at = self.glyphs.index("*"), len(tape) - self.digits - 1
        return at > 0 and tape[at] == times and max(tape[:at] + tape[at + 1 :]) < times

    def step(self, tape: list[int]) -> list[int] | None:
        base, mark, A = self.base, self._times, self._a
        if mark not in tape:
            return None
        m, times = self.digits, tape.index(mark)
        a, b, out = tape[:times], tape[times + 1 : times + 1 + m], tape[times + 2 + m :]
        if out:
            a = a[:-1]  # the letter is used already
        else:
            out = [A] * m
        carry, result = [letter - A for letter in out[:m]], out[m:]
        if not a:
            return [*carry, *result]
        rest = a[-1] * _number(b, base) + _number(carry, base)
        low: list[int] = []  # of the product, units first
        for _ in range(m + 1):
            rest, digit = divmod(rest, base)
            low.append(digit)
        letters = [digit + A for digit in low[:0:-1]]
        return [*a[:-1], a[-1] + A, mark, *b, self._plus, *letters, low[0], *result]


def _number(digits: list[int], base: int) -> int:
    value = 0
    for digit in digits:
        value = base * value + digit
    return value
