"""Bigram-Backcopy: text of a bigram table, in which a trigger is followed by the token before it.

Row of length 10; the triggers are 1, 2 and 3, every other token is a letter:

    $   c  a  2  a  f  1  f  e  1  e      after `a 2` comes a, after `f 1` f, after `e 1` e

`$` is the prompt. With probability `rate` a letter is followed by a trigger, all of them equally
likely, else by a letter that is drawn from its row of the bigram table: the softmax of standard
normal numbers, which `secret` determines. All tokens after `$` are supervised, the drawn ones too
(they are in `Batch.hidden`). A draw cannot be known, so a probe scores the last token alone, which
is a back-copy in every row.

Source: 2410.13835 (Active-Dormant Attention Heads), section 2. There the table and the triggers,
the three most common characters, come from Tiny Shakespeare, and a row has 256 tokens. Ours: the
table, one rate for all letters, no trigger after a trigger, a uniform first letter, and the end of
a row: a letter, a trigger, the letter again.

Held out: one in `triggers` of the rows (from 32 triggers on, 1/16 of them). The last trigger
decides against a hash of the rest of the row. No other token depends on it, so the others have the
same distribution in both splits.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from tasks import Batch, Role, Task, refuse
from tasks._split import draw_digit


@dataclass(frozen=True)
class Backcopy(Task):
    """`length` is the number of tokens after `$`. Token 0 is `$`, then come letters, then
    triggers."""

    letters: Annotated[int, "number of letters, 2 to 1000"] = 28
    triggers: Annotated[int, "number of triggers, 2 to 1000"] = 3
    rate: Annotated[float, "probability of a trigger after a letter, 0 to 1"] = 0.25
    secret: Annotated[int, "number that determines the bigram table, from 0"] = 0
    split: Annotated[str, "rows to draw: train, or test for held-out inputs"] = "train"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("letters", "triggers"):
            if not 2 <= getattr(self, name) <= 1000:
                raise refuse(name, getattr(self, name), "from 2 to 1000")
        if not 0 <= self.rate <= 1:
            raise refuse("rate", self.rate, "a rate from 0 to 1")
        if self.secret < 0:
            raise refuse("secret", self.secret, "a whole number from 0")

    @property
    def words(self) -> tuple[str, ...]:
        alphabet = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
        few = self.letters <= len(alphabet)
        letters = (alphabet[i] if few else f"x{i}" for i in range(self.letters))
        return ("$", *letters, *(str(1 + i) for i in range(self.triggers)))

    def table(self) -> np.ndarray:
        """Probability of each letter after each letter, where no trigger follows: [letters,
        letters]."""
        rng = np.random.default_rng(np.random.SeedSequence((self.secret, self.letters)))
        weights = np.exp(rng.standard_normal((self.letters, self.letters)))
        table: np.ndarray = weights / weights.sum(1, keepdims=True)
        return table

    def chance(self, length: int) -> float:
        """The most common letter at the place that the last token copies.

        drawn[t], copied[t]: probability of each letter as t-th token that is drawn, or a copy.
        """
        table = self.table()
        drawn, copied = np.zeros((2, length + 1, self.letters))
        drawn[1] = 1 / self.letters
        for t in range(2, length - 1):
            copied[t] = self.rate * (drawn[t - 2] + copied[t - 2])
            stays = 1.0 if t == length - 2 else 1 - self.rate
            drawn[t] = stays * (drawn[t - 1] + copied[t - 1]) @ table
        return float((drawn + copied)[length - 2].max())

    def sample(self, rng: np.random.Generator, n: int, length: int) -> Batch:
        if length < 3:
            raise refuse("length", length, "at least 3: a letter, a trigger, the letter again")
        # Letter x plus a float32 below 1 lies, without rounding, among the sums of row x.
        sums = (np.arange(self.letters)[:, None] + self.table().cumsum(1)).ravel()
        sums[self.letters - 1 :: self.letters] = 1 + np.arange(self.letters)
        start = rng.random((length + 1, n), np.float32) < self.rate  # a trigger, if it may
        start[-3:] = np.array([[False], [True], [False]])
        u = rng.random((length + 1, n), np.float32)
        trigger = rng.integers(self.letters + 1, len(self.words), (length + 1, n))
        drawn = np.zeros((length + 1, n), np.int64)  # 0: a copy
        tokens = drawn.copy()
        letter = rng.integers(0, self.letters, n)
        tokens[1] = drawn[1] = letter + 1
        free = np.ones(n, np.bool_)  # the token before is a letter
        for t in range(2, length + 1):
            starts = start[t] & free
            moved = sums.searchsorted(letter + u[t], "right") - self.letters * letter
            letter = np.where(free & ~starts, moved, letter)
            tokens[t] = np.where(starts, trigger[t], letter + 1)
            drawn[t] = tokens[t] * free
            free = ~starts
        drawn[-2] = 0
        held = max(1, self.triggers // 16)
        z = draw_digit(rng, drawn.T, self.triggers, held, self.split == "test", key=self.secret)
        tokens[-2] = drawn[-2] = z + self.letters + 1
        roles = np.full((n, length + 1), Role.ANSWER, np.uint8)
        roles[:, 0] = Role.PROMPT
        return Batch(np.ascontiguousarray(tokens.T), roles, np.ascontiguousarray(drawn[1:].T))

    def solve(
        self, prompt: Sequence[int], hidden: Sequence[int] = ()
    ) -> tuple[list[int], list[int]]:
        """`hidden` has the drawn tokens, and 0 for back-copies."""
        row = list(prompt)
        if row != [0]:
            raise refuse("prompt", row, "$ alone")
        for drawn in hidden:
            row.append(row[-2] if row[-1] > self.letters else drawn)
        return [], row[len(prompt) :]

    def unit(self, prompt: Sequence[int], hidden: Sequence[int]) -> Hashable:
        """The row, which its drawn tokens determine."""
        return tuple(hidden)

    def scored_part(self, batch: Batch) -> Batch:
        """The last token, which is determined; draws cannot be known."""
        roles = batch.roles.copy()
        roles[:, :-1] = Role.PROMPT
        return Batch(batch.tokens, roles, batch.hidden)

    def solve_scored(
        self, before: Sequence[int], hidden: Sequence[int] = (), cot: bool = True
    ) -> tuple[list[int], list[int]]:
        """The token before the trigger, whatever was drawn before."""
        row = list(before)
        if row[:1] != [0] or len(row) < 3 or row[-1] <= self.letters or row[-2] > self.letters:
            text = " ".join(self.words[token] for token in row)
            raise refuse("prompt", text, "$, letters and triggers, a trigger last")
        return [], [row[-2]]

    def dependencies(self, batch: Batch, length: int) -> np.ndarray:
        """A back-copy depends on the token before its trigger."""
        n, T = batch.tokens.shape
        depends = np.zeros((n, T, T), np.bool_)
        row, t = np.nonzero(batch.tokens > self.letters)
        depends[row, t, t - 1] = True
        return depends
