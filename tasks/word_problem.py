"""The word problem of a finite group: what is the product of these elements?

Row in A5 for 3 elements; permutations as cycles, multiplied from left to right:

    (123) (124) (345)   (123) (14)(23)   (15324)       layout = "after"
    prompt              thought          answer

    (123) [(123)]  (124) [(14)(23)]  (345) [(15324)]   layout = "interleaved", answers in brackets

The thought is the running product. interleaved is the tagging of 2404.08819 (The Illusion of State)
in its public code: the target at each position is the product so far. There the target labels the
element; here it follows the element in the row (ours). Elements are drawn uniformly, as there. A5,
Z60 and A4 x Z5 have 60 elements each: equally many answers, from not solvable to commutative.

`identity` is the task in the text of PaTH attention (2505.16381): does a word over the generators
(123), (124), (125) and their inverses equal the identity of A5? Row:

    (123) (124) (142)   (123) (14)(23) (123)   no

Ours: generators of the other groups (_groups.py), equally many rows of yes and of no, and words
that are uniform among those of their length and answer. They are drawn letter by letter, each in
proportion to the number of ways to finish the word, without rejection. In short words the counts of
all letters together tell: in A5 they predict 0.87 of the answers at length 8 and 0.57 at 16, in S3
and S5 0.8 to 0.9 and 0.7 to 0.8, in A4 x Z5 0.97 and more, in Z60 every answer.

Held out. Products: 1/16 of the rows (rounded down to whole elements, at least one). The first
element decides against a hash of the others except the last; the last one stays uniform, so the
answer is uniform and independent of the choice. Identity: words with checksum 0 (each position
gives each generator a fixed number from 0 to 7; their sum modulo 8), drawn after the answer: 1/8 of
the words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Literal, NamedTuple

import numpy as np

from tasks import Batch, Corrupt, Role, Task, refuse
from tasks._groups import compose, group
from tasks._split import draw_digit, fingerprint

_CHECKSUMS = 8


@dataclass(frozen=True)
class WordProblem(Task):
    """`length` is the number of elements to multiply."""

    group: Annotated[Literal["S3", "S5", "A5", "Z60", "A4xZ5"], "group of the elements"] = "A5"
    identity: Annotated[
        bool, "words over the generators; the answer is whether the product is the identity"
    ] = False
    layout: Annotated[
        Literal["after", "interleaved"],
        "the product after all elements, or the product so far after each (not with identity)",
    ] = "after"
    split: Annotated[str, "rows to draw: train, or test for held-out inputs"] = "train"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.group not in ("S3", "S5", "A5", "Z60", "A4xZ5"):
            raise refuse("group", self.group, "it is one of S3, S5, A5, Z60, A4xZ5")
        if self.layout not in ("after", "interleaved"):
            raise refuse("layout", self.layout, "it is after or interleaved")
        if self.identity and self.layout == "interleaved":
            raise refuse("layout", self.layout, "it must be after if identity is true")

    @property
    def words(self) -> tuple[str, ...]:
        return group(self.group).names + (("no", "yes") if self.identity else ())

    def chance(self, length: int) -> float:
        """Interleaved answers determine the whole word, so each word of the split has its own."""
        order = len(group(self.group).elements)
        if self.identity or not self._tags:
            return 0.5 if self.identity else 1 / order
        first = self._held if self.split == "test" else order - (length > 1) * self._held
        return order ** -float(length - 1) / first

    def no_shortcut(self, length: int) -> bool:
        """One uniform element makes the product uniform. Words over generators: A5 is perfect, so
        in long words no single count predicts the product; in the other groups counts do."""
        return length >= 16 and not self._tags and (self.group == "A5" or not self.identity)

    def sample(self, rng: np.random.Generator, n: int, length: int) -> Batch:
        if length < 1:
            raise refuse("length", length, "at least 1")
        draw = self._over_generators if self.identity else self._uniform
        word = draw(rng, n, length)
        order = len(group(self.group).elements)
        flat = group(self.group).table.ravel()
        product = word.copy()
        for t in range(1, length):
            product[t] = flat.take(product[t - 1].astype(np.intp) * order + word[t])

        tokens = np.empty((n, 2 * length + self.identity), np.int64)
        if self._tags:
            tokens[:, 0::2], tokens[:, 1::2] = word.T, product.T
            roles = np.tile(np.array([Role.PROMPT, Role.ANSWER], np.uint8), length)
        else:
            tokens[:, :length], tokens[:, length : 2 * length] = word.T, product.T
            roles = np.full(tokens.shape[1], Role.THOUGHT, np.uint8)
            roles[:length], roles[-1] = Role.PROMPT, Role.ANSWER
        if self.identity:
            tokens[:, -1] = order + (product[-1] == 0)
        return Batch(tokens, np.broadcast_to(roles, tokens.shape))

    def solve(
        self, prompt: Sequence[int], hidden: Sequence[int] = ()
    ) -> tuple[list[int], list[int]]:
        elements, number, modulus = group(self.group)[:3]
        product, products = elements[0], []
        letters = group(self.group).generators if self.identity else range(len(elements))
        if not set(prompt) <= set(letters):
            raise refuse("prompt", list(prompt), "elements only; with identity, generators only")
        for token in prompt:
            product = compose(product, elements[token], modulus)
            products.append(number[product])
        if self._tags:
            return [], products
        if self.identity:
            return products, [len(elements) + (products[-1] == 0)]
        return products[:-1], products[-1:]

    def noise_groups(self, length: int) -> tuple[Sequence[int], ...]:
        return (range(len(group(self.group).elements)),)

    def recompute(self, batch: Batch, corrupt: Corrupt) -> Batch:
        length = int((batch.roles[0] == Role.PROMPT).sum())
        tokens, table = batch.tokens.copy(), group(self.group).table
        product = np.zeros(len(batch), np.int64)
        for i in range(0 if self._tags else length):
            product = table[product, tokens[:, i]].astype(np.int64)
            if batch.roles[0, length + i] == Role.THOUGHT:
                product = corrupt(product, length + i)
            tokens[:, length + i] = product
        if self.identity:
            tokens[:, -1] = len(table) + (product == 0)
        return Batch(tokens, batch.roles)

    @property
    def _tags(self) -> bool:
        return self.layout == "interleaved"

    @property
    def _held(self) -> int:
        """Number of first elements that are held out for each rest of a word."""
        return max(1, len(group(self.group).elements) // 16)

    def _uniform(self, rng: np.random.Generator, n: int, length: int) -> np.ndarray:
        """Words over all elements, uint8 [length, n]."""
        order = len(group(self.group).elements)
        word = rng.integers(0, order, (length, n), np.uint8)
        if length > 1:
            word[0] = draw_digit(rng, word[1:-1].T, order, self._held, self.split == "test")
        elif self.split == "test":
            raise refuse("length", length, "at least 2, or nothing can be held out")
        return word

    def _over_generators(self, rng: np.random.Generator, n: int, length: int) -> np.ndarray:
        """Words over the generators, half of them equal to the identity, uint8 [length, n]."""
        steps = [_step(self.group, m) for m in range(length + 1)]
        ways = steps[-1].ways.reshape(-1, _CHECKSUMS).copy()
        ways[:, 1:] *= self.split == "train"
        ways[:, 0] *= self.split == "test"
        yes, no = ways.copy(), ways
        yes[1:], no[0] = 0, 0
        if not yes.any() or not no.any():
            raise refuse("length", length, f"longer: no {self.split} word has one of the answers")
        total = np.concatenate([yes.ravel() / yes.sum(), no.ravel() / no.sum()]).cumsum() / 2
        total[np.flatnonzero(total == total[-1])[0] :] = (
            1  # so that rounding cannot select an entry beyond the end
        )
        state = np.searchsorted(total, rng.random(n), "right") % ways.size
        generators = np.array(group(self.group).generators, np.uint8)
        word = np.empty((length, n), np.uint8)
        for t in range(length):
            step = steps[length - t]
            u, letter = rng.random(n), np.zeros(n, np.intp)
            for limit in step.limits:
                letter += u >= limit.take(state)
            word[t] = generators.take(letter)
            state = step.rest.take(letter * ways.size + state)
        return word


class _Step(NamedTuple):
    """How to draw the next of m remaining letters, by state = remaining product * 8 + checksum.

    ways: fraction of all words of m letters with that product and checksum, float64 [states].
    limits: the drawn letter is the number of limits that a uniform draw reaches, float64
    [letters - 1, states]. rest: the state after each letter, int64 [letters * states].
    """

    ways: np.ndarray
    limits: np.ndarray
    rest: np.ndarray


@lru_cache(None)
def _step(name: str, m: int) -> _Step:
    """The step with m remaining letters. It calls itself for m - 1, so call in ascending order."""
    order, letters = len(group(name).elements), np.array(group(name).generators)
    states = np.arange(order * _CHECKSUMS)
    if m == 0:
        none = np.zeros((0, len(states)))
        return _Step((states == 0).astype(float), none, none.astype(np.int64))
    product, checksum = np.divmod(states, _CHECKSUMS)
    numbers = fingerprint(np.array([[m, letter] for letter in letters])) % np.uint64(_CHECKSUMS)
    rest = group(name).table[group(name).inverse[letters]][:, product].astype(np.int64) * _CHECKSUMS
    rest += (checksum - numbers.astype(np.int64)[:, None]) % _CHECKSUMS
    ways = _step(name, m - 1).ways[rest] / len(letters)
    below = ways.cumsum(0)
    limits = below[:-1] / np.where(below[-1] > 0, below[-1], 1)
    limits[ways[::-1].cumsum(0)[::-1][1:] == 0] = 2  # no later letter can finish the word
    return _Step(below[-1], limits, rest.ravel())
