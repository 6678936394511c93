"""Sparse parity: the XOR of k hidden bits out of n.

Row for n = 5 and the hidden set {1, 2, 4} (the paper counts from 1):

    b1 b2 b3 b4 b5 | 0 | b1 | b1^b2 | b1^b2^b4
    prompt           thought           answer

The thought starts with the constant 0 (the parity of no bits) and continues with the running parity
of the hidden bits in ascending order of index. Vocabulary {0, 1}, no separators. The last bit is
hidden only if k = n. Source: 2410.05459 (From Sparse Dependence to Sparse Attention), its published
data code.

Dense parity: give k as a fraction of the length, for example k = 0.5. Learning parity with noise
(2303.07987; there d = 20 and rate 0.2 by default): `noise` flips the answer of that fraction of the
rows; the thought stays correct and the flip is in `Batch.hidden`.

Held out: 1/16 of the inputs (below 5 bits: 1/2^(n-1)). The choice never depends on the first hidden
bit, so in both splits that bit is a fair coin and the label is balanced and independent of the
others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from tasks import Batch, Corrupt, Role, Task, refuse
from tasks._split import draw_digit


@dataclass(frozen=True)
class Parity(Task):
    """`length` is the number of bits, n."""

    k: Annotated[int | float, "number of hidden bits; below 1, their fraction of the length"] = 6
    secret: Annotated[int, "number that determines the hidden set, from 0"] = 0
    noise: Annotated[float, "fraction of rows with a flipped answer, 0 to 0.5"] = 0.0
    noisy_test: Annotated[bool, "flip answers in the test split too"] = False
    split: Annotated[str, "rows to draw: train, or test for held-out inputs"] = "train"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (0 < self.k < 1 or (self.k >= 1 and self.k == int(self.k))):
            raise refuse("k", self.k, "a number of bits from 1, or a share of them between 0 and 1")
        if self.secret < 0:
            raise refuse("secret", self.secret, "a whole number from 0")
        if not 0 <= self.noise <= 0.5:
            raise refuse("noise", self.noise, "a rate from 0 to 0.5")

    @property
    def words(self) -> tuple[str, ...]:
        return ("0", "1")

    def chance(self, length: int) -> float:
        return 0.5

    def no_shortcut(self, length: int) -> bool:
        """At k = 2 the XOR of two bits is the task itself."""
        return length >= 16 and 3 <= len(self.support(length)) <= length // 2 and not self.noise

    def support(self, length: int) -> np.ndarray:
        """The hidden set for inputs of this length: ascending indices from 0, int64 [k]."""
        k = int(self.k) if self.k >= 1 else max(1, round(self.k * length))
        if length < 1:
            raise refuse("length", length, "at least 1")
        if k > length:
            raise refuse("k", self.k, f"at most the length, {length}")
        if k == length:
            return np.arange(length)
        rng = np.random.default_rng(np.random.SeedSequence((self.secret, length)))
        return np.sort(rng.permutation(length - 1)[:k])

    def sample(self, rng: np.random.Generator, n: int, length: int) -> Batch:
        support = self.support(length)
        bits = self._inputs(rng, n, length, fair=int(support[0]))
        running = np.bitwise_xor.accumulate(bits[:, support], axis=1)
        k = len(support)
        tokens = np.zeros((n, length + k + 1), np.int64)
        tokens[:, :length] = bits
        tokens[:, length + 1 :] = running
        roles = np.repeat(
            np.array([Role.PROMPT, Role.THOUGHT, Role.ANSWER], np.uint8), [length, k, 1]
        )
        hidden = np.zeros((n, 0), np.int64)
        if self.noise:
            noisy = self.split == "train" or self.noisy_test
            hidden = (rng.random((n, 1)) < (self.noise if noisy else 0.0)).astype(np.int64)
            tokens[:, -1:] ^= hidden
        return Batch(tokens, np.broadcast_to(roles, tokens.shape), hidden)

    def solve(
        self, prompt: Sequence[int], hidden: Sequence[int] = ()
    ) -> tuple[list[int], list[int]]:
        parity, thought = 0, []
        for i in self.support(len(prompt)):
            thought.append(parity)
            parity = (parity + prompt[i]) % 2
        flip = hidden[0] if len(hidden) else 0
        return thought, [(parity + flip) % 2]

    def secrets(self, length: int) -> list[str]:
        bits = ", ".join(map(str, self.support(length)))
        return [f"the answer is the parity of the bits {bits} of {length}, counted from 0"]

    def secret_of(self, hidden: Sequence[int]) -> str:
        return "the answer is flipped" if any(hidden) else ""

    def recompute(self, batch: Batch, corrupt: Corrupt) -> Batch:
        length = int((batch.roles[0] == Role.PROMPT).sum())
        tokens = batch.tokens.copy()
        parity = np.zeros(len(batch), np.int64)
        for t, i in enumerate(self.support(length), length):
            tokens[:, t] = corrupt(parity, t)
            parity = tokens[:, t] ^ tokens[:, i]
        tokens[:, -1] = parity ^ batch.hidden.sum(1)
        return Batch(tokens, batch.roles, batch.hidden)

    def dependencies(self, batch: Batch, length: int) -> np.ndarray:
        """A running parity depends on one hidden bit; an answer without thought on all of them."""
        support, (n, T) = self.support(length), batch.tokens.shape
        depends = np.zeros((n, T, T), np.bool_)
        thought = length + len(support) + 1 == T
        depends[:, length + np.arange(len(support)) if thought else length - 1, support] = True
        return depends

    def _inputs(self, rng: np.random.Generator, n: int, length: int, fair: int) -> np.ndarray:
        """Bits uint8 [n, length] of the split; the split does not depend on bit `fair`."""
        bits = rng.integers(0, 2, (n, length), np.uint8)
        others = np.delete(np.arange(length), fair)
        digit, rest = others[:4], others[4:]
        if not len(digit):
            if self.split == "test":
                raise refuse("length", length, "at least 2, or nothing can be held out")
            return bits
        z = draw_digit(
            rng, bits[:, rest], 2 ** len(digit), 1, self.split == "test", key=self.secret
        )
        bits[:, digit] = z[:, None] >> np.arange(len(digit)) & 1
        return bits
