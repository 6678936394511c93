"""Sort numbers, given in one order and written in another.

Row for 4 numbers, input_order = "random"; below, the answer for each `output_order`:

    17 3 60 3 >   3 3 17 60       ascending
                  60 17 3 3       descending
                  17 3 60 3       shuffled, by the ranks 2 0 3 1 (secret = 3)

Numbers are tokens from 0 to `values` - 1 and may repeat. With "shuffled", the ranks are written in
one fixed random order for each length: the answer is determined as before, but no order of reading
makes it easier. `input_order` "ascending" or "descending" gives the numbers sorted already, so that
the same answers are a copy or a reversal.

Source: 1511.06391 (Order Matters), sorting experiment: 5, 10 or 15 random floats and a network that
does not see the order of its input. Ours: numbers as tokens, and both orders as options.

Held out: 1/16 of the multisets (below 32 values: 1 of the residues), whatever their order. Every
value has a code, a permutation of all values; the sum of the codes modulo `values` decides.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import exp, lgamma, log
from typing import Annotated, Literal

import numpy as np

from tasks import Batch, Role, Task, refuse

Order = Literal["ascending", "descending"]


@dataclass(frozen=True)
class Sorting(Task):
    """`length` is how many numbers are sorted."""

    values: Annotated[int, "numbers are whole and below this, 2 to 10000"] = 64
    input_order: Annotated[Literal["random", Order], "how the numbers are given"] = "random"
    output_order: Annotated[Literal[Order, "shuffled"], "how they are written"] = "ascending"
    secret: Annotated[int, "number that determines the ranks of shuffled; 0 for others"] = 0
    split: Annotated[str, "rows to draw: train, or test for held-out inputs"] = "train"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 2 <= self.values <= 10_000:
            raise refuse("values", self.values, "from 2 to 10000")
        if self.input_order not in ("random", "ascending", "descending"):
            raise refuse("input_order", self.input_order, "it is random, ascending or descending")
        if self.output_order not in ("ascending", "descending", "shuffled"):
            allowed = "it is ascending, descending or shuffled"
            raise refuse("output_order", self.output_order, allowed)
        if self.secret and self.output_order != "shuffled":
            allowed = f"0: output_order = {self.output_order} has no secret"
            raise refuse("secret", self.secret, allowed)
        if self.secret < 0:
            raise refuse("secret", self.secret, "a whole number from 0")

    @property
    def words(self) -> tuple[str, ...]:
        return (*map(str, range(self.values)), ">")

    def chance(self, length: int) -> float:
        """The most common multisets have the fewest repeats; all residues are equally likely."""
        each, more = divmod(length, self.values)
        ways = lgamma(length + 1) - self.values * lgamma(each + 1) - more * log(each + 1)
        held = self._held if self.split == "test" else self.values - self._held
        return exp(ways - (length - 1) * log(self.values)) / held

    def ranks(self, length: int) -> np.ndarray:
        """The ranks of the numbers in the order in which they are written, int64 [length]; 0 is the
        smallest number."""
        if self.output_order == "shuffled":
            rng = np.random.default_rng(np.random.SeedSequence((self.secret, length)))
            return rng.permutation(length)
        ranks = np.arange(length)
        return ranks if self.output_order == "ascending" else ranks[::-1]

    def sample(self, rng: np.random.Generator, n: int, length: int) -> Batch:
        if length < 1:
            raise refuse("length", length, "at least 1")
        V, held = self.values, self._held
        numbers = rng.integers(0, V, (n, length), np.uint16)
        residue = rng.integers(*((0, held) if self.split == "test" else (held, V)), n)
        code = _codes(V)
        numbers[:, 0] = code.argsort()[(residue - code[numbers[:, 1:]].sum(1)) % V]
        ordered = np.sort(numbers, 1)
        tokens = np.empty((n, 2 * length + 1), np.int64)
        if self.input_order == "random":
            tokens[:, :length] = numbers
        else:
            tokens[:, :length] = ordered if self.input_order == "ascending" else ordered[:, ::-1]
        tokens[:, length], tokens[:, length + 1 :] = V, ordered[:, self.ranks(length)]
        roles = np.repeat(np.array([Role.PROMPT, Role.ANSWER], np.uint8), [length + 1, length])
        return Batch(tokens, np.broadcast_to(roles, tokens.shape))

    def solve(
        self, prompt: Sequence[int], hidden: Sequence[int] = ()
    ) -> tuple[list[int], list[int]]:
        *numbers, end = prompt
        ordered = sorted(numbers)
        given = {"random": numbers, "ascending": ordered, "descending": ordered[::-1]}
        if end != self.values or self.values in numbers or numbers != given[self.input_order]:
            raise refuse("prompt", list(prompt), f"numbers, {self.input_order}, then >")
        return [], [ordered[rank] for rank in self.ranks(len(ordered))]

    def unit(self, prompt: Sequence[int], hidden: Sequence[int]) -> Hashable:
        """The numbers, whatever their order."""
        return tuple(sorted(prompt[:-1]))

    def secrets(self, length: int) -> list[str]:
        if self.output_order != "shuffled":
            return []
        ranks = " ".join(map(str, self.ranks(length)))
        return [f"the ranks in the order of the answer, 0 for the smallest number: {ranks}"]

    @property
    def _held(self) -> int:
        """Number of residues that are held out."""
        return max(1, self.values // 16)


def _codes(values: int) -> np.ndarray:
    """The code of every value, a fixed permutation: the split is then no range of sums."""
    return np.random.default_rng(values).permutation(values)
