"""Arithmetic in context: all examples of a row apply the same secret sequence of T operations.

Two examples for T = 2, modulo 7, with the secret operations (r - x, r * x):

    5 6 3 | 6 | 4     0 2 6 | 5 | 2
    x_0 x_1 x_2, running result, answer

Each example is x_0 .. x_T, then r_1 .. r_T, where r_0 = x_0, r_t = r_(t-1) op_t x_t and r_T is the
answer: 5 - 6 = 6, 6 * 3 = 4 modulo 7. One token per residue, no separators. Every example is
supervised; probes score the last one. 2502.08991 (Task Generalization with AutoRegressive
Compositional Structure) has an arithmetic task; its format was not found, so layout, operations and
sizes here are ours.

The D operations are the first of: r + x, r - x, r * x, r / x, r + 2x, r - 2x, r * x^2, r / x^2, ...
Operands x_1 .. x_T are never 0, so every operation is a bijection of r and, x_0 being uniform, the
answers are uniform and independent of the operations: no answer is more common than another.
Different sequences are different functions of x_0 .. x_T, so the examples identify the sequence
even without the thought. With the thought, step t alone identifies op_t.

Held out: sequences of operations, in `Batch.hidden` (ids from 0). Operands are drawn anew for every
row of both splits.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import floor, log
from typing import Annotated

import numpy as np

from tasks import Batch, Corrupt, Role, Task, refuse
from tasks._compose import choose, digits, draw, last_example, place_in_example, solve_last


@dataclass(frozen=True)
class ComposeArithmetic(Task):
    """`length` is the number of operations in a sequence, T."""

    operations: Annotated[int, "D: number of operations to choose from, 2 to 2 (modulus - 3)"] = 4
    modulus: Annotated[int, "a prime from 5 to 251"] = 11
    contexts: Annotated[int, "number of examples in a row, at least 1"] = 16
    train_tasks: Annotated[int, "number of seen sequences; 0: floor(D T ln(D T))"] = 0
    secret: Annotated[int, "number that determines the seen sequences, from 0"] = 0
    split: Annotated[str, "rows to draw: sequences, seen in training or unseen"] = "seen"

    def __post_init__(self) -> None:
        super().__post_init__()
        p = self.modulus
        if not 5 <= p <= 251 or any(p % q == 0 for q in range(2, 16) if q < p):
            raise refuse("modulus", p, "a prime from 5 to 251")
        if not 2 <= self.operations <= 2 * (p - 3):
            raise refuse(
                "operations",
                self.operations,
                f"from 2 to {2 * (p - 3)}, as more do not differ modulo {p}",
            )
        for option, least in (("contexts", 1), ("train_tasks", 0), ("secret", 0)):
            if getattr(self, option) < least:
                raise refuse(option, getattr(self, option), f"a whole number from {least}")

    @property
    def words(self) -> tuple[str, ...]:
        return tuple(str(residue) for residue in range(self.modulus))

    def splits(self) -> tuple[str, ...]:
        return ("seen", "unseen")

    def unit(self, prompt: Sequence[int], hidden: Sequence[int]) -> Hashable:
        return tuple(hidden)

    def chance(self, length: int) -> float:
        return 1 / self.modulus

    def scored_part(self, batch: Batch) -> Batch:
        return last_example(batch)

    def solve_scored(
        self, before: Sequence[int], hidden: Sequence[int] = (), cot: bool = True
    ) -> tuple[list[int], list[int]]:
        T = len(hidden)
        return solve_last(self, before, self.contexts, T + 1, T if cot else 1, hidden)

    def positions(self, batch: Batch) -> np.ndarray:
        """Position within the example, from 0: int64 [n, T]."""
        return place_in_example(batch, self.contexts)

    def seen(self, length: int) -> np.ndarray:
        """The training sequences of this length: int64 [train_tasks, T]."""
        return digits(_seen(self, length), self.operations, length)

    def sample(self, rng: np.random.Generator, n: int, length: int) -> Batch:
        T, N, D, p = length, self.contexts, self.operations, self.modulus
        ranks = draw(rng, n, D**T, _seen(self, T), self.split == "unseen")
        hidden = digits(ranks, D, T)
        table = _table(D, p)
        # Layout [n, position, example], so that a step works on contiguous memory.
        blocks = np.empty((n, 2 * T + 1, N), np.uint8)
        blocks[:, 0] = rng.integers(0, p, (n, N), np.uint8)
        blocks[:, 1 : T + 1] = rng.integers(1, p, (n, T, N), np.uint8)
        r = blocks[:, 0]
        for t in range(T):
            cell = hidden[:, t, None].astype(np.int32) * p + r
            r = table.take(cell * p + blocks[:, t + 1])
            blocks[:, T + 1 + t] = r
        tokens = blocks.transpose(0, 2, 1).astype(np.int64, order="C").reshape(n, N * (2 * T + 1))
        roles = np.repeat(
            np.array([Role.PROMPT, Role.THOUGHT, Role.ANSWER], np.uint8), [T + 1, T - 1, 1]
        )
        return Batch(tokens, np.broadcast_to(np.tile(roles, N), tokens.shape), hidden)

    def solve(
        self, prompt: Sequence[int], hidden: Sequence[int] = ()
    ) -> tuple[list[int], list[int]]:
        T, p = len(hidden), self.modulus
        thought, answer = [], []
        for start in range(0, len(prompt), T + 1):
            r = prompt[start]
            results = []
            for op, x in zip(hidden, prompt[start + 1 : start + T + 1], strict=True):
                if x == 0:
                    raise refuse("prompt", list(prompt), "no operand after x_0 is 0")
                kind, size = op % 4, op // 4 + 1
                if kind == 0:
                    r = (r + size * x) % p
                elif kind == 1:
                    r = (r - size * x) % p
                else:
                    r = r * pow(x, size if kind == 2 else -size, p) % p
                results.append(r)
            thought += results[:-1]
            answer += results[-1:]
        return thought, answer

    def secrets(self, length: int) -> list[str]:
        seen, total = len(_seen(self, length)), self.operations**length
        every = ", ".join(map(_in_words, range(self.operations)))
        return [
            f"a sequence of {length} operations for each row, out of {every}, modulo"
            f" {self.modulus}; {seen:,} of {total:,} sequences are seen"
        ]

    def secret_of(self, hidden: Sequence[int]) -> str:
        return f"the secret operations: {', '.join(map(_in_words, hidden))}"

    def recompute(self, batch: Batch, corrupt: Corrupt) -> Batch:
        T, p = batch.hidden.shape[1], self.modulus
        table, size = _table(self.operations, p), 2 * T + 1
        tokens = batch.tokens.copy()
        r = tokens[:, ::size]
        for t in range(T):
            cell = (batch.hidden[:, t, None] * p + r) * p + tokens[:, t + 1 :: size]
            columns = slice(T + 1 + t, None, size)
            r = table.take(cell).astype(np.int64)
            r = tokens[:, columns] = r if t == T - 1 else corrupt(r, columns)
        return Batch(tokens, batch.roles, batch.hidden)


def _in_words(op: int) -> str:
    """An operation as a formula: r + x, r - x, r * x, r / x, r + 2x, ..., r * x^2, ..."""
    kind, size = op % 4, op // 4 + 1
    if size == 1:
        return f"r {'+-*/'[kind]} x"
    return f"r {'+-*/'[kind]} " + (f"{size}x" if kind < 2 else f"x^{size}")


@lru_cache(maxsize=64)
def _seen(task: ComposeArithmetic, length: int) -> np.ndarray:
    """The ranks of the seen sequences, ascending."""
    if length < 1:
        raise refuse("length", length, "at least 1")
    places = task.operations * length
    wanted = task.train_tasks or floor(places * log(places))
    return choose(task.operations**length, wanted, length, (task.secret, length, task.operations))


@lru_cache(maxsize=8)
def _table(D: int, p: int) -> np.ndarray:
    """The result of each operation on r and x: uint8 [D * p * p]; entries of x = 0 are not used."""
    r, x = np.arange(p)[:, None], np.arange(p)
    inverse = np.array([pow(v, p - 2, p) for v in range(p)])
    table = np.zeros((D, p, p), np.uint8)
    for op in range(D):
        kind, size = op % 4, op // 4 + 1
        if kind < 2:
            table[op] = (r + (size if kind == 0 else -size) * x) % p
        else:
            result = r + 0 * x
            for _ in range(size):
                result = result * (x if kind == 2 else inverse) % p
            table[op] = result
    return table.ravel()
