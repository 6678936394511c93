"""Flip-flop language modelling: remember one bit through instructions to write, read and ignore.

Row for 5 instructions; each instruction has a bit, and the bit of a read is the last one written:

    w 1  i 0  r [1]  w 0  r [0]        answers in brackets, the rest is prompt

Source: 2306.00946 (Exposing Attention Glitches), as used by PaTH attention (2505.16381, FFLM), with
the numbers of the data card synthseq/flipflop: 256 instructions (512 tokens), 80% of them ignores,
the rest half reads and half writes (sparse: 98% ignores, dense: 10%), token ids w 0, r 1, i 2, 0 3,
1 4. The first instruction is a write. Ours: the last one is a read, those between are independent
of each other, and only the bits of reads are supervised (all other bits are random).

Held out: 1/16 of the rows. The first 4 unread bits (of ignores, and of writes that are overwritten
before a read; fewer where a row has fewer) decide against a hash of the rest of the row, so answers
have the same distribution in both splits. Rows without an unread bit are all in `train`: almost
none from 16 instructions on, or from 40 if none is an ignore. Where `test` would draw such a row,
its second instruction becomes a write or an ignore.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from tasks import Batch, Role, Task, refuse
from tasks._split import fingerprint

_WRITE, _READ, _IGNORE, _ZERO = range(4)


@dataclass(frozen=True)
class FlipFlop(Task):
    """`length` is the number of instructions, of two tokens each."""

    ignore: Annotated[float, "fraction of instructions that are ignores, 0 to 1"] = 0.8
    split: Annotated[str, "rows to draw: train, or test for held-out inputs"] = "train"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.ignore <= 1:
            raise refuse("ignore", self.ignore, "a rate from 0 to 1")

    @property
    def words(self) -> tuple[str, ...]:
        return ("w", "r", "i", "0", "1")

    @property
    def layout_given(self) -> bool:
        return True

    def chance(self, length: int) -> float:
        """The most common tuple of answers is all zeros (or all ones).

        zero[r], one[r]: probability of r reads so far, all of them 0, with 0 or 1 in memory. Exact
        in `train`; in `test` exact up to the rows that cannot be held out.
        """
        read = (1 - self.ignore) / 2
        zero, one = np.zeros(length), np.zeros(length)
        zero[0] = one[0] = 0.5
        for _ in range(length - 2):
            written = read / 2 * (zero + one)
            zero, one = (
                self.ignore * zero + written + read * np.concatenate([[0.0], zero[:-1]]),
                self.ignore * one + written,
            )
        return float(zero.max())

    def sample(self, rng: np.random.Generator, n: int, length: int) -> Batch:
        if length < 2:
            raise refuse("length", length, "at least 2, one write and one read")
        if length == 2 and self.split == "test":
            raise refuse("length", length, "at least 3, or nothing can be held out")
        what = self._instructions(rng, n, length)  # uint8 [length, n]
        bits = self._bits(rng, what)
        read = what == _READ
        memory = bits[0].copy()
        for t in range(1, length):
            np.copyto(memory, bits[t], where=what[t] == _WRITE)
            np.copyto(bits[t], memory, where=read[t])
        tokens = np.empty((n, length, 2), np.int64)
        tokens[:, :, 0] = what.T
        tokens[:, :, 1] = (bits + np.uint8(_ZERO)).T
        roles = np.full((n, length, 2), Role.PROMPT, np.uint8)
        roles[:, :, 1] += (read * np.uint8(Role.ANSWER - Role.PROMPT)).T
        return Batch(tokens.reshape(n, -1), roles.reshape(n, -1))

    def solve(
        self, prompt: Sequence[int], hidden: Sequence[int] = ()
    ) -> tuple[list[int], list[int]]:
        answers, memory, t = [], _ZERO, 0
        absent = {_IGNORE} if self.ignore == 0 else {_WRITE, _READ} if self.ignore == 1 else set()
        if prompt[0] != _WRITE or prompt[-1] != _READ or absent & set(prompt[1:-1]):
            allowed = "a write first, a read last, between them what the rate of ignores allows"
            raise refuse("prompt", list(prompt), allowed)
        while t < len(prompt):
            if prompt[t] == _READ:
                answers.append(memory)
                t += 1
                continue
            if prompt[t] >= _ZERO or prompt[t + 1] < _ZERO:
                raise refuse("prompt", list(prompt), "a bit after each w and i, none elsewhere")
            if prompt[t] == _WRITE:
                memory = prompt[t + 1]
            t += 2
        return [], answers

    def dependencies(self, batch: Batch, length: int) -> np.ndarray:
        """The bit of a read depends on the last bit written."""
        n, T = batch.tokens.shape
        depends = np.zeros((n, T, T), np.bool_)
        written = np.zeros(n, np.int64)
        for t in range(0, T, 2):
            written = np.where(batch.tokens[:, t] == _WRITE, t + 1, written)
            read = np.flatnonzero(batch.tokens[:, t] == _READ)
            depends[read, t, written[read]] = True
        return depends

    def _instructions(self, rng: np.random.Generator, n: int, length: int) -> np.ndarray:
        """Instructions uint8 [length, n]: first a write, last a read, between them by the rates."""
        read = (1 - self.ignore) / 2
        what = np.empty((length, n), np.uint8)
        what[0], what[-1] = _WRITE, _READ
        u = rng.random((length - 2, n), np.float32)
        np.add(u >= read, u >= 2 * read, out=what[1:-1], dtype=np.uint8)
        if self.split == "test":
            other = np.where(rng.random(n) * (1 - read) < read, _WRITE, _IGNORE)
            stuck = ~_unread(what).any(0)
            what[1, stuck] = other[stuck]
        return what

    def _bits(self, rng: np.random.Generator, what: np.ndarray) -> np.ndarray:
        """Bits of writes and ignores for the split, uint8 [length, n] like `what`; 0 at reads."""
        bits = rng.integers(0, 2, what.shape, np.uint8)
        bits *= what != _READ
        unread = _unread(what)
        rank = unread.astype(np.int32)
        for t in range(1, len(rank)):
            rank[t] += rank[t - 1]
        digit = unread & (rank <= 4)
        bits[digit] = 0
        size = 1 << np.minimum(rank[-1], 4).astype(np.int64)
        shift = (fingerprint((what + 3 * bits).T) % size.astype(np.uint64)).astype(np.int64)
        if self.split == "test":
            z = shift
        else:
            z = (rng.integers(np.minimum(size - 1, 1), size) + shift) % size
        place, row = np.nonzero(digit)
        bits[place, row] = z[row] >> (rank[place, row] - 1) & 1
        return bits


def _unread(what: np.ndarray) -> np.ndarray:
    """Whether an instruction's bit is never read: bool [length, n] like `what`; False at reads."""
    unread = what == _IGNORE
    write = what == _WRITE
    overwritten = np.zeros(
        what.shape[1], bool
    )  # the next instruction that is not an ignore is a write
    for t in reversed(range(len(what))):
        now = write[t] & overwritten
        np.copyto(overwritten, write[t], where=~unread[t])
        unread[t] |= now
    return unread
