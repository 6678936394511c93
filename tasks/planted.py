"""Planted sparse parity: the XOR of k bits at random positions among background symbols.

Row for length 8 and k = 3, background symbols a to d:

    c 1 a a 0 d 1 b | 0 1 1 | 0
    prompt            thought answer

The answer is the parity of the bits. The thought is their running parity from left to right,
starting with the constant 0 (the parity of no bits), so it has exactly k tokens. The length and k
vary independently. 2502.16792 (The Role of Sparsity for Length Generalization) studies such
k-sparse planted correlations; its layout was not found, so this one is ours.

Coupled position ids depend on the input here, as Predictive Position Coupling (2502.16792) needs.
The prompt has ids 1, 2, ..., length. A thought token has the id of the bit that is added next: the
token with the parity of the first j bits has the id of bit j + 1, so the next token is the XOR of
the two tokens with that id. The answer has id length + 1 (the exact ids are ours):

    tokens   c  1  a  a  0  d  1  b  0  1  1  0
    ids      1  2  3  4  5  6  7  8  2  5  7  9

Held out: 1/16 of the prompts (k < 5: 1/2^(k-1)). The bits after the first, at most four, decide
together with positions, background and the other bits. The first bit does not affect the choice, so
in both splits it is a fair coin and the answer is balanced. The number of ones determines the
answer: that is the task.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from tasks import Batch, Corrupt, Role, Task, refuse
from tasks._split import draw_digit


@dataclass(frozen=True)
class Planted(Task):
    """`length` is the number of prompt tokens, at least k."""

    k: Annotated[int, "number of bits in the prompt, at least 2"] = 6
    background: Annotated[int, "number of background symbols, 1 to 250"] = 4
    split: Annotated[str, "rows to draw: train, or test for held-out inputs"] = "train"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.k < 2:
            raise refuse("k", self.k, "at least 2, or nothing can be held out")
        if not 1 <= self.background <= 250:
            raise refuse("background", self.background, "from 1 to 250 symbols")

    @property
    def words(self) -> tuple[str, ...]:
        letters = "abcdefghijklmnopqrstuvwxyz"
        few = self.background <= len(letters)
        return ("0", "1", *(letters[i] if few else f"s{i}" for i in range(self.background)))

    def chance(self, length: int) -> float:
        return 0.5

    def sample(self, rng: np.random.Generator, n: int, length: int) -> Batch:
        k = self.k
        if length < k:
            raise refuse("length", length, f"at least k = {k}")
        prompt = rng.integers(2, self.background + 2, (n, length), np.uint8)
        place = np.flatnonzero(_subsets(rng, n, length, k))  # row by row, ascending within a row
        bits = np.zeros((n, k), np.uint8)
        decide = min(4, k - 1)
        bits[:, decide + 1 :] = rng.integers(0, 2, (n, k - decide - 1), np.uint8)
        prompt.ravel()[place] = bits.ravel()
        z = draw_digit(rng, prompt, 2**decide, 1, self.split == "test")
        bits[:, 0] = rng.integers(0, 2, n, np.uint8)
        bits[:, 1 : decide + 1] = z[:, None] >> np.arange(decide) & 1
        prompt.ravel()[place] = bits.ravel()
        tokens = np.zeros((n, length + k + 1), np.int64)
        tokens[:, :length] = prompt
        np.bitwise_xor.accumulate(bits, axis=1, out=tokens[:, length + 1 :])
        roles = np.repeat(
            np.array([Role.PROMPT, Role.THOUGHT, Role.ANSWER], np.uint8), [length, k, 1]
        )
        return Batch(tokens, np.broadcast_to(roles, tokens.shape))

    def solve(
        self, prompt: Sequence[int], hidden: Sequence[int] = ()
    ) -> tuple[list[int], list[int]]:
        parity, thought = 0, []
        for token in prompt:
            if token < 2:
                thought.append(parity)
                parity = (parity + token) % 2
        if len(thought) != self.k:
            raise refuse("prompt", list(prompt), f"k = {self.k} bits among background symbols")
        return thought, [parity]

    def noise_groups(self, length: int) -> tuple[Sequence[int], ...]:
        return (range(2),)

    def recompute(self, batch: Batch, corrupt: Corrupt) -> Batch:
        n, length = len(batch), batch.tokens.shape[1] - self.k - 1
        tokens, prompt = batch.tokens.copy(), batch.tokens[:, :length]
        bits = prompt[prompt < 2].reshape(n, self.k)
        parity = np.zeros(n, np.int64)
        for j in range(self.k):
            tokens[:, length + j] = corrupt(parity, length + j)
            parity = tokens[:, length + j] ^ bits[:, j]
        tokens[:, -1] = parity
        return Batch(tokens, batch.roles)

    def positions(self, batch: Batch) -> np.ndarray | None:
        prompt, thought = batch.roles == Role.PROMPT, batch.roles == Role.THOUGHT
        ids = np.where(prompt, np.arange(1, batch.tokens.shape[1] + 1), 0)
        ids += (prompt.sum(1, keepdims=True) + 1) * (batch.roles == Role.ANSWER)
        if thought.any():  # one thought token for each bit, in the same order
            ids[thought] = np.nonzero(prompt & (batch.tokens < 2))[1] + 1
        return ids


def _subsets(rng: np.random.Generator, n: int, length: int, k: int) -> np.ndarray:
    """k of `length` positions for each row, uniform: bool [n, length]. Floyd's algorithm."""
    chosen = np.zeros((n, length), np.bool_)
    row = np.arange(n)
    for last in range(length - k, length):
        place = rng.integers(0, last + 1, n)
        place = np.where(chosen[row, place], last, place)
        chosen[row, place] = True
    return chosen
