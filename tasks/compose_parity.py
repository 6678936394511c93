"""Sparse parity in context: all examples of a row share one secret tuple of k indices out of d.

Two examples for d = 4 and the secret tuple (1, 3), counted from 0:

    1 0 0 1 | 0 0 | 1     0 1 1 1 | 0 1 | 0
    x         thought  answer

Each example is x_1 .. x_d, the constant 0 (the parity of no bits), p_1 .. p_k, where p_j is the
parity of the first j secret bits and p_k the answer. No separators, vocabulary {0, 1}. Every
example is supervised, although the first answers can only be guessed; probes score the last one, as
in the source: 2502.08991 (Task Generalization with AutoRegressive Compositional Structure), its
published data code, with 40 examples and ascending or ordered tuples. There, rows without thought
keep the constant 0 (x, 0, y); here `without_thoughts` leaves x, y.

Seen tuples: the published numbers are floor(3 d ln d) for d = 10, 15, 25, 30 (69, 121, 241, 306)
and one more for d = 20 (180). `secret` determines which tuples are seen (ours). `drop_coordinate`
and `drop_pair` are the restricted selections of Section 5.1: excluded tuples are never seen and
belong to the unseen split, where all tuples that are not seen are equally likely.

Held out: tuples, in `Batch.hidden`. Inputs are new fair bits in both splits, so every answer is a
fair coin, independent of the tuple and of the other answers.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import comb, floor, log, perm
from typing import Annotated

import numpy as np

from tasks import Batch, Corrupt, Role, Task, refuse
from tasks._compose import (
    arrangements,
    choose,
    combinations,
    draw,
    last_example,
    place_in_example,
    solve_last,
)


@dataclass(frozen=True)
class ComposeParity(Task):
    """`length` is the number of input bits of an example, d."""

    k: Annotated[int, "number of indices in the secret tuple, at least 1"] = 5
    contexts: Annotated[int, "number of examples in a row, at least 1"] = 40
    ordered: Annotated[bool, "tuples in any order, which the thought follows, not ascending"] = (
        False
    )
    train_tasks: Annotated[int, "number of seen tuples; 0: floor(3 d ln d)"] = 0
    secret: Annotated[int, "number that determines the seen tuples, from 0"] = 0
    drop_coordinate: Annotated[
        tuple[int, int] | None,
        "(c, v): no seen tuple has index v (from 0) at its c-th place (from 1)",
    ] = None
    drop_pair: Annotated[
        tuple[int, int] | None, "(a, b): no seen tuple contains both indices (from 0)"
    ] = None
    split: Annotated[str, "rows to draw: tuples, seen in training or unseen"] = "seen"

    def __post_init__(self) -> None:
        super().__post_init__()
        for option, least in (("k", 1), ("contexts", 1), ("train_tasks", 0), ("secret", 0)):
            if getattr(self, option) < least:
                raise refuse(option, getattr(self, option), f"a whole number from {least}")
        for option in ("drop_coordinate", "drop_pair"):
            value = getattr(self, option)
            if value is None:
                continue
            if len(value) != 2 or min(value) < 0:
                raise refuse(option, value, "two whole numbers from 0, or None")
            object.__setattr__(
                self, option, tuple(value)
            )  # JSON gives lists, which cannot be hashed
        if self.drop_coordinate and not 1 <= self.drop_coordinate[0] <= self.k:
            raise refuse("drop_coordinate", self.drop_coordinate, f"a place from 1 to k = {self.k}")
        if self.drop_pair and self.drop_pair[0] == self.drop_pair[1]:
            raise refuse("drop_pair", self.drop_pair, "two different indices")

    @property
    def words(self) -> tuple[str, ...]:
        return ("0", "1")

    def splits(self) -> tuple[str, ...]:
        return ("seen", "unseen")

    def unit(self, prompt: Sequence[int], hidden: Sequence[int]) -> Hashable:
        return tuple(hidden)

    def chance(self, length: int) -> float:
        return 0.5

    def scored_part(self, batch: Batch) -> Batch:
        return last_example(batch)

    def solve_scored(
        self, before: Sequence[int], hidden: Sequence[int] = (), cot: bool = True
    ) -> tuple[list[int], list[int]]:
        supervised = self.k + 1 if cot else 1
        inputs = (len(before) + supervised) // self.contexts - supervised
        return solve_last(self, before, self.contexts, inputs, supervised, hidden)

    def positions(self, batch: Batch) -> np.ndarray:
        """Position within the example, from 0: int64 [n, T]."""
        return place_in_example(batch, self.contexts)

    def seen(self, length: int) -> np.ndarray:
        """The training tuples for inputs of this length: int64 [train_tasks, k]."""
        return self._tuples(_seen(self, length), length)

    def total(self, length: int) -> int:
        """The number of tuples, seen and unseen."""
        if length < 1:
            raise refuse("length", length, "at least 1")
        if self.k > length:
            raise refuse("k", self.k, f"at most the length, {length}")
        return perm(length, self.k) if self.ordered else comb(length, self.k)

    def sample(self, rng: np.random.Generator, n: int, length: int) -> Batch:
        d, k, N = length, self.k, self.contexts
        ranks = draw(rng, n, self.total(d), _seen(self, d), self.split == "unseen")
        hidden = self._tuples(ranks, d)
        # Layout [n, position, example]: one copy reads a secret bit of all examples.
        blocks = np.zeros((n, d + k + 1, N), np.uint8)
        random = np.frombuffer(rng.bytes(-(-n * d * N // 8)), np.uint8)
        blocks[:, :d] = np.unpackbits(random, count=n * d * N).reshape(n, d, N)
        row = np.arange(n)
        for j in range(k):
            blocks[:, d + j + 1] = blocks[:, d + j] ^ blocks[row, hidden[:, j]]
        tokens = blocks.transpose(0, 2, 1).astype(np.int64, order="C").reshape(n, N * (d + k + 1))
        roles = np.repeat(np.array([Role.PROMPT, Role.THOUGHT, Role.ANSWER], np.uint8), [d, k, 1])
        return Batch(tokens, np.broadcast_to(np.tile(roles, N), tokens.shape), hidden)

    def solve(
        self, prompt: Sequence[int], hidden: Sequence[int] = ()
    ) -> tuple[list[int], list[int]]:
        d, left = divmod(len(prompt), self.contexts)
        if left:
            raise refuse("prompt", list(prompt), f"{self.contexts} examples of equal size")
        thought, answer = [], []
        for start in range(0, len(prompt), d):
            parity = 0
            for index in hidden:
                thought.append(parity)
                parity = (parity + prompt[start + index]) % 2
            answer.append(parity)
        return thought, answer

    def recompute(self, batch: Batch, corrupt: Corrupt) -> Batch:
        n, N = len(batch), self.contexts
        tokens, row = batch.tokens.copy(), np.arange(n)
        size = tokens.shape[1] // N
        blocks = tokens.reshape(n, N, size)  # a view
        parity = np.zeros((n, N), np.int64)
        for j in range(self.k):
            columns = slice(size - self.k - 1 + j, None, size)
            tokens[:, columns] = corrupt(parity, columns)
            parity = tokens[:, columns] ^ blocks[row, :, batch.hidden[:, j]]
        tokens[:, size - 1 :: size] = parity
        return Batch(tokens, batch.roles, batch.hidden)

    def secrets(self, length: int) -> list[str]:
        seen, total = len(_seen(self, length)), self.total(length)
        return [f"a tuple of {self.k} indices for each row; {seen:,} of {total:,} tuples are seen"]

    def secret_of(self, hidden: Sequence[int]) -> str:
        return f"the secret indices, counted from 0: {' '.join(map(str, hidden))}"

    def dependencies(self, batch: Batch, length: int) -> np.ndarray:
        """A running parity depends on one secret bit of its example; an answer without thought
        depends on all of them."""
        n, T = batch.tokens.shape
        depends = np.zeros((n, T, T), np.bool_)
        row, thought = np.arange(n)[:, None], self.contexts * (length + self.k + 1) == T
        for start in range(0, T, T // self.contexts):
            last = start + length - 1
            query = last + 1 + np.arange(self.k) if thought else np.array([last])
            depends[row, query, start + batch.hidden] = True
        return depends

    def _tuples(self, ranks: np.ndarray, length: int) -> np.ndarray:
        return (arrangements if self.ordered else combinations)(ranks, length, self.k)


@lru_cache(maxsize=64)
def _seen(task: ComposeParity, length: int) -> np.ndarray:
    """The ranks of the seen tuples, ascending."""
    total = task.total(length)
    for option in ("drop_coordinate", "drop_pair"):
        value = getattr(task, option)
        indices = value[1:] if value and option == "drop_coordinate" else value
        if value and max(indices) >= length:
            raise refuse(option, value, f"indices below the length, {length}")

    def allowed(ranks: np.ndarray) -> np.ndarray:
        tuples = task._tuples(ranks, length)
        permitted = np.ones(len(ranks), np.bool_)
        if task.drop_coordinate:
            c, v = task.drop_coordinate
            permitted &= tuples[:, c - 1] != v
        if task.drop_pair:
            a, b = task.drop_pair
            permitted &= ~((tuples == a).any(1) & (tuples == b).any(1))
        return permitted

    wanted = task.train_tasks or max(1, floor(3 * length * log(length)))
    restricted = task.drop_coordinate or task.drop_pair
    return choose(
        total, wanted, length, (task.secret, length, task.k), allowed if restricted else None
    )
