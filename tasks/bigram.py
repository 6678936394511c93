"""Bigram text: each token is drawn from its predecessor's row of a table of known entropy.

Row of length 6; `#11` is the prompt, all tokens after it are drawn and supervised:

    #11   4  7  7  0  4  7

The first token is uniform, every other one comes from the row of the token before it. A row of the
table is the softmax of standard normal numbers, which `secret` determines, times the scale that
gives the row its entropy: `low` bits for even symbols, `high` bits for odd ones. So the best loss
of any model is known exactly (`least_loss`). A draw cannot be known: a probe scores the last token
alone, and no model is right more often than the likeliest successors are.

Source: 2410.05192 (WSD and the river valley). Its toy setting was not found; all of this is ours.

Held out: 1/16 of the rows. The prompt is one of 16 tokens, it decides against a hash of all tokens
that follow and tells nothing of them, so these have the same distribution in both splits.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import log, log2
from typing import Annotated

import numpy as np

from tasks import Batch, refuse
from tasks._drawn import Drawn
from tasks._tables import Alias, of_entropy, row_entropy


@dataclass(frozen=True)
class Bigram(Drawn):
    """`length` is the number of tokens after the prompt."""

    symbols: Annotated[int, "number of symbols, 2 to 512"] = 32
    low: Annotated[float, "entropy of the rows of even symbols, in bits, from 0"] = 0.5
    high: Annotated[float, "entropy of the rows of odd symbols, in bits, low to log2(symbols)"] = (
        4.0
    )
    secret: Annotated[int, "number that determines the table, from 0"] = 0
    split: Annotated[str, "rows to draw: train, or test for held-out inputs"] = "train"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 2 <= self.symbols <= 512:
            raise refuse("symbols", self.symbols, "from 2 to 512")
        most = log2(self.symbols)
        if not 0 <= self.low <= most:
            raise refuse("low", self.low, f"from 0 to log2(symbols) = {most:.4g} bits")
        if not self.low <= self.high <= most:
            allowed = f"from low = {self.low} to log2(symbols) = {most:.4g} bits"
            raise refuse("high", self.high, allowed)
        if self.secret < 0:
            raise refuse("secret", self.secret, "a whole number from 0")

    def table(self) -> np.ndarray:
        """Probability of each symbol after each symbol, float64 [symbols, symbols]."""
        return self._made[0]

    def least_loss(self, length: int) -> float:
        """The cross-entropy of the table itself in nats a token: no model has a smaller one."""
        rows = row_entropy(self.table())
        return (log(self.symbols) + sum(float(p @ rows) for p in self._at(length)[:-1])) / length

    def chance(self, length: int) -> float:
        """The most common last token."""
        return float(self._at(length)[-1].max())

    def sample(self, rng: np.random.Generator, n: int, length: int) -> Batch:
        if length < 1:
            raise refuse("length", length, "at least 1")
        V, alias = self.symbols, self._made[1]
        drawn = rng.integers(0, V, (length, n))
        u = rng.random((length, n), np.float32)
        for t in range(1, length):
            drawn[t] = alias.draw(drawn[t - 1], drawn[t], u[t])
        return self.rows(rng, drawn, drawn)

    def secrets(self, length: int) -> list[str]:
        best = ", ".join(f"{x} {y}" for x, y in enumerate(self.table().argmax(1)))
        return [
            f"the least loss is {self.least_loss(length):.4f} nats a token at length {length}",
            f"the likeliest successor of each symbol: {best}",
        ]

    @property
    def _made(self) -> tuple[np.ndarray, Alias]:
        return _table(self.symbols, self.low, self.high, self.secret)

    def _at(self, length: int) -> list[np.ndarray]:
        """The distribution of each token."""
        at = [np.full(self.symbols, 1 / self.symbols)]
        for _ in range(length - 1):
            at.append(at[-1] @ self.table())
        return at


@lru_cache(8)
def _table(symbols: int, low: float, high: float, secret: int) -> tuple[np.ndarray, Alias]:
    rng = np.random.default_rng(np.random.SeedSequence((secret, symbols)))
    bits = np.where(np.arange(symbols) % 2, high, low)
    table = of_entropy(rng.standard_normal((symbols, symbols)), bits)
    table.flags.writeable = False  # all callers share it
    return table, Alias.of(table)
