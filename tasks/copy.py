"""Copy a string.

Row for the string "b a d" (length 3):

    $ b a d | -> b a d .
    prompt       answer

One token per symbol; `$` begins, `|` separates, `.` ends. Source of the format: the published code
of 2402.01032 (Repeat After Me), which puts several examples into one context. Here a row is one
string of exactly `length` symbols, and a run mixes lengths (our choice). There is no thought.

Coupled position ids pair each copied symbol with its source (position coupling, 2405.20671); the
exact ids are ours. The string has ids 2, 3, ... and so has its copy; `$` and `|`, each in front of
a string, have 1, and `.` has the id after the last symbol:

    tokens   $  b  a  d  |  b  a  d  .
    ids      1  2  3  4  1  2  3  4  5

So the source of the next token is always the token whose id is one higher.

Held out: about 1/16 of the strings, or one where a length has fewer than 16. The first symbols, as
few as have 256 values together, are the digit of tasks/_split.py; the other symbols are the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Annotated

import numpy as np

from tasks import Batch, Role, Task, refuse
from tasks._split import draw_digit


@dataclass(frozen=True)
class Copy(Task):
    """`length` is the number of symbols in the string."""

    symbols: Annotated[int, "number of symbols in the alphabet, 2 to 10000"] = 26
    unique: Annotated[bool, "no symbol appears twice in a string"] = False
    split: Annotated[str, "rows to draw: train, or test for held-out inputs"] = "train"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 2 <= self.symbols <= 10_000:
            raise refuse("symbols", self.symbols, "from 2 to 10000")

    @property
    def words(self) -> tuple[str, ...]:
        letters = "abcdefghijklmnopqrstuvwxyz"
        few = self.symbols <= len(letters)
        symbols = letters[: self.symbols] if few else (str(i) for i in range(self.symbols))
        return (*symbols, "$", "|", ".")

    @property
    def stop(self) -> tuple[int, ...]:
        return (self.symbols + 2,)

    def chance(self, length: int) -> float:
        radix = self._radix(length)
        leading, size, held = _digit(radix)
        return 1 / (prod(radix[leading:]) * (held if self.split == "test" else size - held))

    def sample(self, rng: np.random.Generator, n: int, length: int) -> Batch:
        S = self.symbols
        string = self._strings(rng, n, length)
        tokens = np.empty((n, 2 * length + 3), np.int64)
        tokens[:, 0] = S
        tokens[:, 1 : length + 1] = string
        tokens[:, length + 1] = S + 1
        tokens[:, length + 2 : -1] = string
        tokens[:, -1] = S + 2
        roles = np.repeat(np.array([Role.PROMPT, Role.ANSWER], np.uint8), [length + 2, length + 1])
        return Batch(tokens, np.broadcast_to(roles, tokens.shape))

    def solve(
        self, prompt: Sequence[int], hidden: Sequence[int] = ()
    ) -> tuple[list[int], list[int]]:
        S, string = self.symbols, list(prompt[1:-1])
        repeated = self.unique and len(set(string)) < len(string)
        marks = [prompt[0], prompt[-1]]
        if marks != [S, S + 1] or repeated or max(string, default=S) >= S:
            raise refuse("prompt", list(prompt), "$, a string, |")
        return [], [*string, S + 2]

    def positions(self, batch: Batch) -> np.ndarray | None:
        t = np.arange(batch.tokens.shape[1])
        bar = (batch.tokens == self.symbols + 1).argmax(1)[:, None]
        ids = np.where(t < bar, t, t - bar) + 1
        return np.where(batch.roles == Role.PAD, 0, ids)

    def dependencies(self, batch: Batch, length: int) -> np.ndarray:
        """A copied symbol depends on its source."""
        n, T = batch.tokens.shape
        depends = np.zeros((n, T, T), np.bool_)
        copied = np.arange(length)
        depends[:, length + 1 + copied, 1 + copied] = True
        return depends

    def _radix(self, length: int) -> list[int]:
        """The number of choices for each symbol, given the symbols before it."""
        if length < 1:
            raise refuse("length", length, "at least 1")
        if self.unique and length > self.symbols:
            raise refuse("length", length, f"at most symbols = {self.symbols} when unique")
        return [self.symbols - i if self.unique else self.symbols for i in range(length)]

    def _strings(self, rng: np.random.Generator, n: int, length: int) -> np.ndarray:
        """Strings uint16 [n, length] of the split."""
        S, radix = self.symbols, self._radix(length)
        if self.unique:
            code = np.empty((length, n), np.uint16)
            for i, values in enumerate(radix):
                code[i] = rng.integers(0, values, n, np.uint16)
            code = code.T
        else:
            code = rng.integers(0, S, (n, length), np.uint16)
        leading, size, held = _digit(radix)
        z = draw_digit(rng, code[:, leading:], size, held, self.split == "test")
        for i, values in enumerate(radix[:leading]):
            z, code[:, i] = np.divmod(z, values)
        if not self.unique:
            return code
        # Fisher-Yates: position i takes one of the symbols that are not used yet.
        left = np.repeat(np.arange(S, dtype=np.uint16)[:, None], n, axis=1)
        row = np.arange(n)
        for i in range(length):
            place = code[:, i].astype(np.intp) + i
            chosen = left[place, row]
            left[place, row] = left[i]
            left[i] = chosen
        return left[:length].T


def _digit(radix: list[int]) -> tuple[int, int, int]:
    """The leading symbols that decide the split, their number of values, and of held-out ones."""
    leading, size = 0, 1
    while size < 256 and leading < len(radix):
        size *= radix[leading]
        leading += 1
    return leading, size, max(1, size // 16)
