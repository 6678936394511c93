"""Turing Programs: a row is the history of a tape, and each tape is a local edit of the one before.

    BOS 43+09 SEP   4d+0j+b2 SEP e+a+a52 SEP   052 EOS       43 + 9 = 52 (tasks/addition.py)
    prompt          thought                    answer

The first tape is the input, the last one the result. A step depends on the tape before it and on
nothing else: whatever it needs to know (where the head is, a carry, a clock) is written there. It
changes a number of places that does not grow with the tape and copies the rest.

A new program is a step function and a tape: `glyphs`, what a tape is made of; `step`, the scalar
definition; `start` and `run`, the first tapes of a batch and the same steps on whole arrays. The
layout, the roles, the end of a row and `solve` follow; `follow`, one step of a batch from any tape,
lets it go on from an error. `replay` is the plain simulator: it checks
the printed history of any of them against any statement of its rule.

Source: 2407.03310 (Turing Programs). The idea, a separator between the copies and the marks BOS,
EOS and SEP are the paper's; its literal formats were not found, so every tape here is our choice.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np

from tasks import Batch, Role, Task, Write, refuse

BOS, EOS, SEP = "BOS", "EOS", "SEP"
DIGITS = tuple("0123456789")
LETTERS = tuple("abcdefghij")  # the digits once more, for those under the head
MEASURED_ROWS = 2**16


class TuringProgram(Task):
    """A task whose thought is a tape history. Token ids: the glyphs, then BOS, EOS and SEP."""

    @property
    @abstractmethod
    def glyphs(self) -> tuple[str, ...]:
        """The printed word of everything that can stand on a tape."""

    @abstractmethod
    def step(self, tape: list[int]) -> list[int] | None:
        """The tape after this one, or None where the program halts. The obvious way.

        A first tape does not halt.
        """

    @abstractmethod
    def start(self, rng: np.random.Generator, n: int, length: int) -> np.ndarray:
        """First tapes [n, W] from the split, in a small integer type that fits every glyph."""

    @abstractmethod
    def run(self, tape: np.ndarray) -> tuple[list[np.ndarray], np.ndarray | None]:
        """All tapes after these, each [n, its width], and the steps of each row, int [n].

        None: all rows take every step. Tapes after the last one of a row are not used; where all
        are as wide, a row that has halted should keep its last tape, which `most_common` reads.
        """

    def follow(self, tape: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The tapes after these [n, W] of one number of steps, whatever errors are on them, and
        whether the program halts there, bool [n]. Of rows that had halted before, anything."""
        raise ValueError(f"the task {self.name} cannot go on from an error in its thought")

    @property
    def words(self) -> tuple[str, ...]:
        return (*self.glyphs, BOS, EOS, SEP)

    @property
    def stop(self) -> tuple[int, ...]:
        return (len(self.glyphs) + 1,)

    def sample(self, rng: np.random.Generator, n: int, length: int) -> Batch:
        if length < 1:
            raise refuse("length", length, "at least 1")
        first = self.start(rng, n, length)
        tapes, steps = self.run(first)
        return history([first, *tapes], steps, len(self.glyphs))

    def solve(
        self, prompt: Sequence[int], hidden: Sequence[int] = ()
    ) -> tuple[list[int], list[int]]:
        *tapes, last = trace(list(prompt[1:-1]), self.step)
        thought = [token for tape in tapes for token in (*tape, len(self.glyphs) + 2)]
        return thought, [*last, *self.stop]

    def kinds(self, length: int) -> tuple[Sequence[int], ...]:
        return (range(len(self.glyphs)),)

    def rerun(self, batch: Batch, write: Write) -> Batch:
        """Each tape follows from the one before as that was written, errors and all."""
        t = int((batch.roles[0] == Role.PROMPT).sum())
        tapes, going = [batch.tokens[:, 1 : t - 1]], np.ones(len(batch), np.bool_)
        steps = np.zeros(len(batch), np.int64)
        while going.any():
            tape, halts = self.follow(tapes[-1])
            stop = t + tape.shape[1]
            if not halts.all():  # the last tape is the answer
                tape = np.where(halts[:, None], tape, write(tape, slice(t, stop)))
            tapes.append(tape)
            steps += going
            going &= ~halts
            t = stop + 1
        return history(tapes, steps, len(self.glyphs))

    def picture(self, tokens: Sequence[int]) -> list[str]:
        """One tape a line, so that each can be held against the one above it."""
        words = self.words
        text = " ".join(words[t] for t in tokens)
        return text.removeprefix(f"{BOS} ").removesuffix(f" {EOS}").split(f" {SEP} ")

    def most_common(self, first: np.ndarray) -> float:
        """The share of the most common result among those of these first tapes."""
        last = np.ascontiguousarray(self.run(first)[0][-1])
        whole = last.view(f"V{last.itemsize * last.shape[1]}").ravel()
        return float(np.unique(whole, return_counts=True)[1].max() / len(last))


def trace(tape: list[int], step: Callable[[list[int]], list[int] | None]) -> list[list[int]]:
    """Step until the program halts: the tapes after the first one."""
    tapes = []
    after = step(tape)
    while after is not None:
        tapes.append(after)
        after = step(after)
    return tapes


def replay(row: Sequence[str], step: Callable[[list[str]], list[str] | None]) -> int | None:
    """The number of the first tape of a printed row that does not follow from the one before.

    Tapes count from 0, the input. `step` works on printed tapes. None: the whole history is right.
    """
    if not row or row[0] != BOS:
        return 0
    tapes: list[list[str]] = [[]]
    for word in row[1:]:
        if word == SEP:
            tapes.append([])
        else:
            tapes[-1].append(word)
    for number, (before, after) in enumerate(pairwise(tapes), 1):
        last = number == len(tapes) - 1
        expected = step(before)
        if expected is None or after != expected + [EOS] * last:
            return number
    return None if len(tapes) > 1 and step(tapes[-1][:-1]) is None else len(tapes)


def history(tapes: list[np.ndarray], steps: np.ndarray | None, bos: int) -> Batch:
    """Rows `BOS tape SEP tape ... SEP tape EOS` of tapes [n, their width]; bos: its token id.

    steps: how many tapes after the first belong to each row, from 1, int [n]; None: all of them.
    """
    if steps is not None:
        tapes = tapes[: int(steps.max(initial=1)) + 1]
    n, count = len(tapes[0]), len(tapes) - 1
    ends = np.cumsum([tape.shape[1] + 1 for tape in tapes])  # the column of the mark behind each
    tokens = np.full((n, ends[-1] + 1), bos + 2, np.int64)
    tokens[:, 0] = bos
    for tape, end in zip(tapes, ends, strict=True):
        tokens[:, end - tape.shape[1] : end] = tape

    column = np.arange(tokens.shape[1])
    roles = np.full((count + 1, len(column)), Role.THOUGHT, np.uint8)  # by number of steps
    roles[:, : ends[0] + 1] = Role.PROMPT
    for k in range(1, count + 1):
        roles[k, ends[k - 1] + 1 :] = np.where(column[ends[k - 1] + 1 :] <= ends[k], Role.ANSWER, 0)
    if steps is None:
        tokens[:, -1] = bos + 1
        return Batch(tokens, np.broadcast_to(roles[count], tokens.shape))
    tokens[np.arange(n), ends[steps]] = bos + 1
    own = roles.take(steps, axis=0)
    tokens *= own != Role.PAD
    return Batch(tokens, own)


@lru_cache(256)
def measured_chance(task: TuringProgram, length: int) -> float:
    """The most common result's share, for a space too large to enumerate: of 65,536 fixed rows."""
    return task.most_common(task.start(np.random.default_rng(0), MEASURED_ROWS, length))
