"""A closed phone book: say the numbers of two names; the book is in no row, only in the weights.

Row for names of 3 letters and numbers of 4 digits, answers in brackets:

    q z a [0 4 1 2]  m e o [9 9 3 0]

`secret` and the number of names determine the book: distinct names of random letters, each with a
number of random digits, independent of its name and of all other numbers. So nothing but memory
helps, and a model of P names has to store log2(10^digits) bits for each of them. A probe scores the
second number; the first name only makes rows that were never seen. Books of different length have
different names, so a model learns one book.

Source: 2410.19034 (Mixture of Parrots), closed-book phone book from name to number, 100,000 to over
2 million names. Ours: the form of names and numbers, two names in a row, what is held out.

Held out: 1/16 of the pairs of names; every name is trained on. The first name decides against a
hash of the second one, so the second name, which is scored, is uniform over the book in both
splits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

import numpy as np

from tasks import Batch, Role, Task, refuse
from tasks._split import draw_digit

_LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class PhoneBook(Task):
    """`length` is the number of names in the book."""

    letters: Annotated[int, "letters of a name, 1 to 8"] = 4
    digits: Annotated[int, "digits of a number, 1 to 16"] = 4
    secret: Annotated[int, "number that determines the book, from 0"] = 0
    split: Annotated[str, "rows to draw: train, or test for held-out inputs"] = "train"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.letters <= 8:
            raise refuse("letters", self.letters, "from 1 to 8")
        if not 1 <= self.digits <= 16:
            raise refuse("digits", self.digits, "from 1 to 16")
        if self.secret < 0:
            raise refuse("secret", self.secret, "a whole number from 0")

    @property
    def words(self) -> tuple[str, ...]:
        return (*map(str, range(10)), *_LETTERS)

    def book(self, length: int) -> np.ndarray:
        """A name and its number in every row, as tokens, uint8 [length, letters + digits]."""
        most = min(26**self.letters, 10**7)
        if not 3 <= length <= most:
            raise refuse("length", length, f"from 3 to {most} names of {self.letters} letters")
        return _book(self.letters, self.digits, self.secret, length)

    def chance(self, length: int) -> float:
        """The most common number."""
        numbers = self.book(length)[:, self.letters :] @ 10 ** np.arange(self.digits)
        return float(np.unique(numbers, return_counts=True)[1].max() / length)

    def sample(self, rng: np.random.Generator, n: int, length: int) -> Batch:
        book, others = self.book(length), length - 1
        second = rng.integers(0, length, n)
        held = max(1, others // 16)
        test = self.split == "test"
        apart = draw_digit(rng, second[:, None], others, held, test, key=self.secret)
        first = (second + 1 + apart) % length
        tokens = np.concatenate([book.take(first, 0), book.take(second, 0)], 1).astype(np.int64)
        roles = np.repeat(np.array([Role.PROMPT, Role.ANSWER], np.uint8), self._sizes)
        return Batch(
            tokens,
            np.broadcast_to(np.tile(roles, 2), tokens.shape),
            np.full((n, 1), length, np.int64),
        )

    def solve(
        self, prompt: Sequence[int], hidden: Sequence[int] = ()
    ) -> tuple[list[int], list[int]]:
        """`hidden` has the number of names in the book."""
        book = self.book(hidden[0])
        numbers = {tuple(row[: self.letters]): row[self.letters :] for row in book.tolist()}
        first, second = tuple(prompt[: self.letters]), tuple(prompt[self.letters :])
        if first == second or not {first, second} <= numbers.keys():
            raise refuse("prompt", list(prompt), "two different names of the book")
        return [], numbers[first] + numbers[second]

    def scored_part(self, batch: Batch) -> Batch:
        """The second number."""
        roles = batch.roles.copy()
        roles[:, : sum(self._sizes)] = Role.PROMPT
        return Batch(batch.tokens, roles, batch.hidden)

    def solve_scored(
        self, before: Sequence[int], hidden: Sequence[int] = (), cot: bool = True
    ) -> tuple[list[int], list[int]]:
        """The second number, after the first name with its number and the second name."""
        first, rest = list(before[: sum(self._sizes)]), before[sum(self._sizes) :]
        names = [*first[: self.letters], *rest]
        numbers = super().solve_scored(names, hidden, cot)[1]
        if first[self.letters :] != numbers[: self.digits]:
            allowed = "the book has another number for the first name"
            raise refuse("prompt", " ".join(self.words[t] for t in before), allowed)
        return [], numbers[self.digits :]

    def secrets(self, length: int) -> list[str]:
        words, letters = self.words, self.letters
        some = (
            "".join(words[t] for t in row[:letters])
            + " "
            + "".join(words[t] for t in row[letters:])
            for row in self.book(length)[:4].tolist()
        )
        return [f"the book of {length} names begins {', '.join(some)}"]

    def secret_of(self, hidden: Sequence[int]) -> str:
        return ""  # the size of the book, which is the length

    @property
    def _sizes(self) -> list[int]:
        return [self.letters, self.digits]


@lru_cache(4)
def _book(letters: int, digits: int, secret: int, length: int) -> np.ndarray:
    rng = np.random.default_rng(np.random.SeedSequence((secret, letters, digits, length)))
    codes = rng.choice(26**letters, length, replace=False)
    book = np.empty((length, letters + digits), np.uint8)
    for i in reversed(range(letters)):
        codes, letter = np.divmod(codes, 26)
        book[:, i] = 10 + letter
    book[:, letters:] = rng.integers(0, 10, (length, digits))
    book.flags.writeable = False  # all callers share it
    return book
