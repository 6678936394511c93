"""Multiplication of a number of n digits by one of m digits, as a Turing Program.

Row for 4324 * 7 (length 4, digits 1), without the spaces between tokens:

    BOS 4324*7 SEP
    432e*7+c8 SEP 43c*7+b68 SEP 4d*7+c268 SEP e*7+d0268 SEP   30268 EOS
    thought                                                   answer

A step multiplies the last remaining digit of the first number by the whole second number and adds
the carry. A tape has the remaining digits, the one under the head as a letter (a = 0 ... j = 9),
then the second number, the carry as m letters, and the result so far. The carry stays below 10^m,
so m letters are enough. A step takes at most m + 3 edits (insertions, deletions, replacements) of
the tape before, whatever n is; the last step takes 2m + 3. The last tape is the last carry and the
result, n + m digits; leading zeros stay.

Source: 2407.03310 (Turing Programs). From the paper: n x 1 and n x 3 digits, drawn uniformly. Ours:
the format of a tape (not found), any m, and one step for m digit products at once; a step for each
product would make rows m times as long.

Held out: 1/10 of the pairs. The leading digit of the first number decides against a hash of all
other digits, which are uniform in both splits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from tasks import refuse
from tasks._program import DIGITS, LETTERS, TuringProgram
from tasks._split import draw_digit, held_out

_TIMES, _PLUS, _A = 10, 11, 12


@dataclass(frozen=True)
class Multiplication(TuringProgram):
    """`length` is the number of digits of the first number."""

    digits: Annotated[int, "number of digits of the second number, 1 to 16"] = 1
    split: Annotated[str, "rows to draw: train, or test for held-out inputs"] = "train"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.digits <= 16:
            raise refuse("digits", self.digits, "from 1 to 16")

    @property
    def glyphs(self) -> tuple[str, ...]:
        return (*DIGITS, "*", "+", *LETTERS)

    def chance(self, length: int) -> float:
        """Zero is the most common product; exact by enumeration for up to four digits together."""
        both = length + self.digits
        if both > 4:
            return 10.0**-self.digits + 10.0**-length - 10.0**-both
        every = np.indices((10,) * both, np.uint8).reshape(both, -1).T
        test = held_out(every[:, 0].astype(np.int64), every[:, 1:], 10, 1)
        own = every[test == (self.split == "test")]
        return self.most_common(np.insert(own, length, _TIMES, axis=1))

    def start(self, rng: np.random.Generator, n: int, length: int) -> np.ndarray:
        digits = rng.integers(0, 10, (n, length + self.digits), np.uint8)
        digits[:, 0] = draw_digit(rng, digits[:, 1:], 10, 1, self.split == "test")
        return np.insert(digits, length, _TIMES, axis=1)

    def run(self, tape: np.ndarray) -> tuple[list[np.ndarray], np.ndarray | None]:
        m = self.digits
        n, length = len(tape), tape.shape[1] - m - 1
        a, b = tape[:, :length], tape[:, length + 1 :]
        power = 10 ** np.arange(m - 1, -1, -1)
        factor, carry = b.astype(np.int64) @ power, np.zeros(n, np.int64)
        result = np.empty_like(a)
        tapes = []
        for i in range(length - 1, -1, -1):
            carry, result[:, i] = np.divmod(a[:, i] * factor + carry, 10)
            carried = (carry[:, None] // power % 10).astype(np.uint8)
            after = np.empty((n, 2 * m + length + 3), np.uint8)
            after[:, :i], after[:, i], after[:, i + 1] = a[:, :i], a[:, i] + _A, _TIMES
            after[:, i + 2 : i + 2 + m], after[:, i + 2 + m] = b, _PLUS
            after[:, i + 3 + m : i + 3 + 2 * m] = carried + _A
            after[:, i + 3 + 2 * m :] = result[:, i:]
            tapes.append(after)
        return [*tapes, np.concatenate([carried, result], 1)], None

    def follow(self, tape: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        n, m, times = len(tape), self.digits, int((tape[0] == _TIMES).argmax())
        a, b, out = tape[:, :times], tape[:, times + 1 : times + 1 + m], tape[:, times + 2 + m :]
        power = 10 ** np.arange(m - 1, -1, -1)
        if out.shape[1]:
            a, carry, result = a[:, :-1], out[:, :m] - _A, out[:, m:]
        else:
            carry, result = np.zeros_like(b), out
        if not a.shape[1]:
            return np.concatenate([carry, result], 1), np.ones(n, np.bool_)
        total = a[:, -1].astype(np.int64) * (b @ power) + carry @ power
        carry = total[:, None] // (10 * power) % 10 + _A
        mark = np.full((n, 1), _TIMES)
        left = [a[:, :-1], a[:, -1:] + _A, mark, b, mark + _PLUS - _TIMES]
        return np.concatenate([*left, carry, total[:, None] % 10, result], 1), np.zeros(n, np.bool_)

    def noise_groups(self, length: int) -> tuple[Sequence[int], ...]:
        return range(10), range(_A, _A + 10)

    def is_start(self, tape: list[int]) -> bool:
        times, at = self.glyphs.index("*"), len(tape) - self.digits - 1
        return at > 0 and tape[at] == times and max(tape[:at] + tape[at + 1 :]) < times

    def step(self, tape: list[int]) -> list[int] | None:
        if _TIMES not in tape:
            return None
        m, times = self.digits, tape.index(_TIMES)
        a, b, out = tape[:times], tape[times + 1 : times + 1 + m], tape[times + 2 + m :]
        if out:
            a = a[:-1]  # the letter is used already
        else:
            out = [_A] * m
        carry, result = [letter - _A for letter in out[:m]], out[m:]
        if not a:
            return [*carry, *result]
        product = str(a[-1] * _number(b) + _number(carry)).zfill(m + 1)
        letters = [int(digit) + _A for digit in product[:-1]]
        return [*a[:-1], a[-1] + _A, _TIMES, *b, _PLUS, *letters, int(product[-1]), *result]


def _number(digits: list[int]) -> int:
    return int("".join(map(str, digits)))
