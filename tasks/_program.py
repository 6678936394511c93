"""Helper for Turing Programs: a row is the history of a tape, each a local edit of the one before.

    BOS 43+09 SEP   4d+0j+b2 SEP e+a+a52 SEP   052 EOS       43 + 9 = 52 (tasks/addition.py)
    prompt          thought                    answer

The first tape is the input and the last one the result. A step depends on the tape before it and on
nothing else: the position of the head, a carry or a clock must be written on the tape. A step
changes a number of tokens that does not grow with the tape, and copies the rest.

A new program defines `glyphs`, the words on a tape; `step`, the scalar definition; `start` and
`run`, the first tapes of a batch and the same steps on whole arrays. Layout, roles, the end of a
row and `solve` are inherited. A program that also defines `follow`, one step of a batch from any
tape, can continue from an error. `replay` is a plain simulator: it checks a printed history against
any statement of the rule.

Source: 2407.03310 (Turing Programs). From the paper: the idea, a separator between the tapes and
the marks BOS, EOS and SEP. Its exact formats were not found, so every tape format here is ours.
"""

from __future__ import annotations

import string
from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np

from tasks import Batch, Corrupt, Role, Task, refuse

BOS, EOS, SEP = "BOS", "EOS", "SEP"
LETTERS = tuple(string.ascii_lowercase)  # the digits again, for the cells under the head
DIGITS = tuple(str(digit) for digit in range(len(LETTERS)))
MEASURED_ROWS = 2**16


def check_base(base: int) -> None:
    """ValueError for a base of numbers that has no words for its digits."""
    if not 2 <= base <= len(DIGITS):
        raise refuse("base", base, f"from 2 to {len(DIGITS)}")


class TuringProgram(Task):
    """A task whose thought is a history of tapes. Token ids: the glyphs, then BOS, EOS and SEP."""

    @property
    @abstractmethod
    def glyphs(self) -> tuple[str, ...]:
        """The printed word of every token that can be on a tape."""

    @abstractmethod
    def step(self, tape: list[int]) -> list[int] | None:
        """The next tape, or None where the program halts; the obvious definition.

        The program must not halt on a first tape.
        """

    def is_start(self, tape: list[int]) -> bool:
        """Whether a tape can be a first one; `solve` refuses others."""
        return all(token < len(self.glyphs) for token in tape)

    @abstractmethod
    def start(self, rng: np.random.Generator, n: int, length: int) -> np.ndarray:
        """First tapes [n, W] of the split, in a small integer dtype that fits every glyph."""

    @abstractmethod
    def run(self, tape: np.ndarray) -> tuple[list[np.ndarray], np.ndarray | None]:
        """All later tapes, each [n, its width], and the number of steps of each row, int [n].

        None instead of the numbers: all rows take every step. Tapes after a row's last one are not
        used. If all tapes have the same width, a row that has halted must repeat its last tape,
        because `most_common` reads it there.
        """

    def follow(self, tape: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The next tapes of tapes [n, W] that may have errors, and which are final, bool [n].

        All rows have taken the same number of steps. Rows that had halted before may get any tape.
        ValueError where the program does not support this.
        """
        raise ValueError(f"the task {self.name} cannot continue from an error in its thought")

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
        first, marks = list(prompt[1:-1]), [prompt[0], prompt[-1]]
        if marks != [self.words.index(BOS), self.words.index(SEP)] or not self.is_start(first):
            raise refuse("prompt", list(prompt), "BOS, a first tape, SEP")
        *tapes, last = trace(first, self.step)
        thought = [token for tape in tapes for token in (*tape, len(self.glyphs) + 2)]
        return thought, [*last, *self.stop]

    def noise_groups(self, length: int) -> tuple[Sequence[int], ...]:
        return (range(len(self.glyphs)),)

    def recompute(self, batch: Batch, corrupt: Corrupt) -> Batch:
        """Each tape is computed from the one before it, errors included."""
        t = int((batch.roles[0] == Role.PROMPT).sum())
        tapes, running = [batch.tokens[:, 1 : t - 1]], np.ones(len(batch), np.bool_)
        steps = np.zeros(len(batch), np.int64)
        while running.any():
            tape, halts = self.follow(tapes[-1])
            stop = t + tape.shape[1]
            if not halts.all():  # the last tape is the answer
                tape = np.where(halts[:, None], tape, corrupt(tape, slice(t, stop)))
            tapes.append(tape)
            steps += running
            running &= ~halts
            t = stop + 1
        return history(tapes, steps, len(self.glyphs))

    def picture(self, tokens: Sequence[int]) -> list[str]:
        """One tape a line, so that each can be compared with the one above it."""
        words = self.words
        text = " ".join(words[t] for t in tokens)
        return text.removeprefix(f"{BOS} ").removesuffix(f" {EOS}").split(f" {SEP} ")

    def most_common(self, first: np.ndarray) -> float:
        """The fraction of these first tapes [n, W] that have the most common result."""
        last = np.ascontiguousarray(self.run(first)[0][-1])
        whole = last.view(f"V{last.itemsize * last.shape[1]}").ravel()
        return float(np.unique(whole, return_counts=True)[1].max() / len(last))


def trace(tape: list[int], step: Callable[[list[int]], list[int] | None]) -> list[list[int]]:
    """The tapes after the first one, stepping until the program halts."""
    tapes = []
    after = step(tape)
    while after is not None:
        tapes.append(after)
        after = step(after)
    return tapes


def replay(row: Sequence[str], step: Callable[[list[str]], list[str] | None]) -> int | None:
    """The number of the first tape in a printed row that does not follow from the tape before.

    Tapes are numbered from 0, the input. `step` works on printed tapes. None: the history is right.
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
    """Rows `BOS tape SEP tape ... SEP tape EOS` made of tapes [n, their width].

    steps: number of tapes after the first in each row, at least 1, int [n]; None: all of them.
    bos: the token id of BOS; EOS and SEP follow it.
    """
    if steps is not None:
        tapes = tapes[: int(steps.max(initial=1)) + 1]
    n, count = len(tapes[0]), len(tapes) - 1
    ends = np.cumsum(
        [tape.shape[1] + 1 for tape in tapes]
    )  # the column of the mark after each tape
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
    """Chance where the inputs are too many to enumerate: measured on 65,536 fixed rows."""
    return task.most_common(task.start(np.random.default_rng(0), MEASURED_ROWS, length))
