"""Sparse parity: the XOR of k hidden bits out of n.

Row for n = 5, hidden set {1, 2, 4} (the paper counts from 1):

    b1 b2 b3 b4 b5 | 0 | b1 | b1^b2 | b1^b2^b4
    prompt           thought           answer

The thought starts with the constant 0 (the parity of no bits) and goes on with the running parity
in ascending order of index. Vocabulary {0, 1}, no separators. The last bit is never hidden unless
k = n. Source: 2410.05459 (From Sparse Dependence to Sparse Attention), its published data code.

Dense parity: give k as a share of the length, e.g. k = 0.5. Learning parity with noise (2303.07987;
default there d = 20, rate 0.2): `noise` flips the answer of that share of rows; the thought stays
right and the flip is in `Batch.hidden`.

Held out: 1/16 of the inputs (less than 5 bits: 1/2^(n-1)). One hidden bit never takes part in the
choice, so in both splits it is a fair coin and the label is balanced and independent of the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks import Batch, Role, Task, Write, refuse
from tasks._split import draw_digit


@dataclass(frozen=True)
class Parity(Task):
    """k: hidden bits, or their share of the length when below 1. secret: names the hidden set.
    noise: share of rows with a flipped answer. noisy_test: flip held-out answers too."""

    k: int | float = 6
    secret: int = 0
    noise: float = 0.0
    noisy_test: bool = False
    split: str = "train"

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
        return length >= 16 and len(self.support(length)) <= length // 2 and not self.noise

    def support(self, length: int) -> np.ndarray:
        """The hidden set for inputs of this length: ascending indices int64 [k], from 0."""
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

    def rerun(self, batch: Batch, write: Write) -> Batch:
        length = int((batch.roles[0] == Role.PROMPT).sum())
        tokens = batch.tokens.copy()
        parity = np.zeros(len(batch), np.int64)
        for t, i in enumerate(self.support(length), length):
            tokens[:, t] = write(parity, t)
            parity = tokens[:, t] ^ tokens[:, i]
        tokens[:, -1] = parity ^ batch.hidden.sum(1)
        return Batch(tokens, batch.roles, batch.hidden)

    def needle(self, batch: Batch, length: int) -> np.ndarray:
        """A running parity follows from one hidden bit, an answer without thought from all."""
        support, (n, T) = self.support(length), batch.tokens.shape
        found = np.zeros((n, T, T), np.bool_)
        thought = length + len(support) + 1 == T
        found[:, length + np.arange(len(support)) if thought else length - 1, support] = True
        return found

    def _inputs(self, rng: np.random.Generator, n: int, length: int, fair: int) -> np.ndarray:
        """Bits uint8 [n, length] from the split; bit `fair` does not take part in the choice."""
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
