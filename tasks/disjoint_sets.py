"""Which element is in both of two sets? One set is short, the other long; either comes first.

Row for short = 2 and a long set of 4 elements, the short one first:

    { 17 5 | 9 5 40 3 } 5          the answer is the last token

All other elements differ, and each set is in random order. A model that reads the long set first
cannot know what to keep of it: a fixed state has to hold the smaller of the two sets if that comes
first, the larger one otherwise. Repeating the prompt helps (`--prompt-repeats 2`).

Source: 2407.05483 (Just Read Twice), set disjointness, published data code: a vocabulary of 2048 of
which 4 tokens are marks, all marks and elements in this order, one random element of the first set
put at a random place of the second. There 20,000 rows each of (4, 16), (8, 32), (64, 16), (4, 128),
(16, 256), (4, 256) elements and all reverses are mixed. Ours: one short size, an order for each row
(`first = "either"`), no unused mark.

Held out: 1/16 of the choices of one element of the long set, which is not the answer, against a
hash of all other elements; so the answer has the same distribution in both splits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np

from tasks import Batch, Role, Task, refuse
from tasks._split import draw_digit

_OPEN, _BAR, _CLOSE, _ZERO = range(4)


@dataclass(frozen=True)
class DisjointSets(Task):
    """`length` is the number of elements of the long set."""

    short: Annotated[int, "elements of the short set, 1 to 1024"] = 4
    first: Annotated[
        Literal["either", "short", "long"], "which set comes first; either: a fair coin for a row"
    ] = "either"
    elements: Annotated[int, "how many different elements there are, to 65000"] = 2044
    split: Annotated[str, "rows to draw: train, or test for held-out inputs"] = "train"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.short <= 1024:
            raise refuse("short", self.short, "from 1 to 1024 elements")
        if self.first not in ("either", "short", "long"):
            raise refuse("first", self.first, "it is either, short or long")
        if not 2 * self.short + 1 <= self.elements <= 65_000:
            allowed = f"from {2 * self.short + 1}, for both sets and a choice, to 65000"
            raise refuse("elements", self.elements, allowed)

    @property
    def words(self) -> tuple[str, ...]:
        return ("{", "|", "}", *map(str, range(self.elements)))

    def chance(self, length: int) -> float:
        return 1 / self.elements

    def sample(self, rng: np.random.Generator, n: int, length: int) -> Batch:
        short, most = self.short, self.elements - self.short
        if not short < length <= most:
            allowed = f"above short = {short}, at most elements - short = {most}"
            raise refuse("length", length, allowed)
        drawn = self._distinct(rng, n, short + length - 1) + np.uint16(_ZERO)
        one = _with_common(rng, drawn[:short])
        other = _with_common(rng, np.concatenate([drawn[:1], drawn[short:]]))
        T = short + length + 4
        tokens = np.empty((T, n), np.uint16)
        tokens[0], tokens[-2], tokens[-1] = _OPEN, _CLOSE, drawn[0]
        order = _concatenated(one, other)
        if self.first != "short":
            turned = _concatenated(other, one)
            swap = rng.integers(0, 2, n, np.uint8) == 1 if self.first == "either" else np.True_
            order = np.where(swap, turned, order)
        tokens[1:-2] = order
        roles = np.full(T, Role.PROMPT, np.uint8)
        roles[-1] = Role.ANSWER
        return Batch(tokens.T.astype(np.int64, order="C"), np.broadcast_to(roles, (n, T)))

    def solve(
        self, prompt: Sequence[int], hidden: Sequence[int] = ()
    ) -> tuple[list[int], list[int]]:
        bar = list(prompt).index(_BAR)
        one, other = prompt[1:bar], prompt[bar + 1 : -1]
        common = set(one) & set(other)
        sizes = (len(set(one)), len(set(other)))
        right = {"either": min(sizes), "short": sizes[0], "long": sizes[1]}[self.first]
        if (
            (prompt[0], prompt[-1]) != (_OPEN, _CLOSE)
            or sizes != (len(one), len(other))
            or not right == self.short < max(sizes)
            or not min([*one, *other]) >= _ZERO
            or len(common) != 1
        ):
            allowed = f"{{ a set | a set }} with one common element, the short one of {self.short}"
            raise refuse("prompt", list(prompt), allowed)
        return [], list(common)

    def dependencies(self, batch: Batch, length: int) -> np.ndarray:
        """The answer depends on both of its appearances."""
        n, T = batch.tokens.shape
        depends = np.zeros((n, T, T), np.bool_)
        depends[:, T - 2, : T - 1] = batch.tokens[:, :-1] == batch.tokens[:, -1:]
        return depends

    def _distinct(self, rng: np.random.Generator, n: int, k: int) -> np.ndarray:
        """k distinct elements in random order, uint16 [k, n]: a Fisher-Yates shuffle that stops.
        The last one decides the split."""
        left = np.repeat(np.arange(self.elements, dtype=np.uint16)[:, None], n, axis=1)
        row = np.arange(n)
        for i in range(k):
            others = self.elements - i
            if i < k - 1:
                place = rng.integers(0, others, n)
            else:
                held = max(1, others // 16)
                place = draw_digit(rng, left[:i].T, others, held, self.split == "test")
            place += i
            chosen = left[place, row]
            left[place, row] = left[i]
            left[i] = chosen
        return left[:k]


def _with_common(rng: np.random.Generator, members: np.ndarray) -> np.ndarray:
    """A set [m, n] whose first member moved to a random place."""
    n = members.shape[1]
    place, row = rng.integers(0, len(members), n), np.arange(n)
    moved = members.copy()
    moved[0] = members[place, row]
    moved[place, row] = members[0]
    return moved


def _concatenated(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    bar = np.full((1, one.shape[1]), _BAR, np.uint16)
    return np.concatenate([one, bar, other])
