"""A star of random variables: a head, and leaves that are drawn from it.

Row of 5 variables, `head_order = "first"`, then the same draws with "last":

    #6   3   7 1 1 9        prompt, head, leaves
    #6   7 1 1 9   3        prompt, leaves, head

The head is uniform. Leaf i is drawn from the row of the head in table i: the softmax of standard
normal numbers, which `secret` determines, times the scale that gives each row `entropy` bits. All
variables are drawn and supervised. Both orders have the same best loss (`least_loss`), but with the
head last a leaf has to be predicted from all leaves before it. A draw cannot be known: a probe
scores the last leaf alone, in both orders.

Source: 1511.06391 (Order Matters), star-like graphical models: one head variable and its
leaves, 10 to 50 variables of 10 symbols, 200 to 20,000 samples, head first or last; the order
matters only with few samples and marginals that are not peaky. Ours: the tables and their entropy,
the uniform head, the fixed order of the leaves, what is scored.

Held out: 1/16 of the rows. The prompt is one of 16 tokens, it decides against a hash of all tokens
that follow and tells nothing of them, so these have the same distribution in both splits.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import log, log2
from typing import Annotated, Literal

import numpy as np

from tasks import Batch, refuse
from tasks._drawn import Drawn
from tasks._tables import Alias, of_entropy, row_entropy


@dataclass(frozen=True)
class Star(Drawn):
    """`length` is the number of variables, the head among them."""

    head_order: Annotated[Literal["first", "last"], "the head before or after its leaves"] = "first"
    symbols: Annotated[int, "values of a variable, 2 to 100"] = 10
    entropy: Annotated[float, "of a leaf given the head, in bits, 0 to log2(symbols)"] = 2.0
    secret: Annotated[int, "number that determines the tables, from 0"] = 0
    split: Annotated[str, "rows to draw: train, or test for held-out inputs"] = "train"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.head_order not in ("first", "last"):
            raise refuse("head_order", self.head_order, "it is first or last")
        if not 2 <= self.symbols <= 100:
            raise refuse("symbols", self.symbols, "from 2 to 100")
        if not 0 <= self.entropy <= log2(self.symbols):
            most = log2(self.symbols)
            raise refuse("entropy", self.entropy, f"from 0 to log2(symbols) = {most:.4g} bits")
        if self.secret < 0:
            raise refuse("secret", self.secret, "a whole number from 0")

    def tables(self, length: int) -> np.ndarray:
        """Probability of each value of each leaf given the head, float64 [length - 1, heads,
        values]. A longer star begins with the leaves of a shorter one."""
        return self._made(length)[0]

    def least_loss(self, length: int) -> float:
        """The entropy of a row in nats a token: no model has a smaller loss, in either order."""
        leaves = row_entropy(self.tables(length)).mean(1).sum()
        return (log(self.symbols) + float(leaves)) / length

    def chance(self, length: int) -> float:
        """The most common value of the last leaf."""
        return float(self.tables(length)[-1].mean(0).max())

    def sample(self, rng: np.random.Generator, n: int, length: int) -> Batch:
        V, alias = self.symbols, self._made(length)[1]
        head = rng.integers(0, V, n)
        row = head + V * np.arange(length - 1)[:, None]
        cell, u = rng.integers(0, V, row.shape), rng.random(row.shape, np.float32)
        leaves = alias.draw(row, cell, u)
        first = np.concatenate([head[None], leaves])
        return self.rows(rng, first, first if self.head_order == "first" else np.roll(first, -1, 0))

    @property
    def scored_from_end(self) -> int:
        """Of the last leaf."""
        return 1 if self.head_order == "first" else 2

    def dependencies(self, batch: Batch, length: int) -> np.ndarray | None:
        """With the head first, a leaf depends on it; with the head last, on all tokens before."""
        if self.head_order == "last":
            return None
        n, T = batch.tokens.shape
        depends = np.zeros((n, T, T), np.bool_)
        depends[:, 1 : T - 1, 1] = True
        return depends

    def secrets(self, length: int) -> list[str]:
        best = self.tables(length).argmax(2)
        rows = (f"{head}: {' '.join(map(str, best[:, head]))}" for head in range(self.symbols))
        return [
            f"the least loss is {self.least_loss(length):.4f} nats a token at length {length}",
            "the likeliest leaves of each head, " + ", ".join(rows),
        ]

    def _made(self, length: int) -> tuple[np.ndarray, Alias]:
        if length < 2:
            raise refuse("length", length, "at least 2, the head and a leaf")
        return _tables(length - 1, self.symbols, self.entropy, self.secret)


@lru_cache(8)
def _tables(leaves: int, symbols: int, bits: float, secret: int) -> tuple[np.ndarray, Alias]:
    rng = np.random.default_rng(np.random.SeedSequence((secret, symbols)))
    scores = rng.standard_normal((leaves * symbols, symbols))
    table = of_entropy(scores, np.full(len(scores), bits))
    table.flags.writeable = False  # all callers share it
    return table.reshape(leaves, symbols, symbols), Alias.of(table)
