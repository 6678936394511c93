"""One vocabulary for the parts of a mixture, and the way between its tokens and those of a part.

The joint vocabulary has a word for the name of each part, if rows begin with it, then the words of
all parts in the order of their first appearance: what two parts spell alike is one token.

    parity: 0 1     copy: a b $ | .     joint: <parity> <copy> 0 1 a b $ | .
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from tasks import Batch, Role
from tasks._parts import read


class OwnRows(NamedTuple):
    """The rows of a batch that are of one part. rows: int [m], their numbers. columns: those of the
    batch that they fill. batch: the rows without a name, in the tokens of the part."""

    number: int
    rows: np.ndarray
    columns: slice
    batch: Batch


class Vocabulary(NamedTuple):
    """words: of all parts. joint: for each part int64 [own words], the token of each of its own.
    own: for each part int64 [words], the other way round, -1 where it has no such word. lead: the
    tokens in front of a row, 1 for a name or 0."""

    words: tuple[str, ...]
    joint: tuple[np.ndarray, ...]
    own: tuple[np.ndarray, ...]
    lead: int

    def tokens(self, number: int, own: Batch) -> np.ndarray:
        """Joint tokens [m, T] of rows of a part."""
        tokens = self.joint[number].take(own.tokens)
        padded = len(own) and (own.roles[:, -1] == Role.PAD).any()
        return np.where(own.roles == Role.PAD, 0, tokens) if padded else tokens

    def prompt(self, number: int, prompt: Sequence[int]) -> list[int] | None:
        """A prompt in the tokens of a part, without its name; None where it is none of that
        part."""
        tokens = list(prompt)
        if self.lead and tokens[:1] != [number]:
            return None
        own = self.own[number][tokens[self.lead :]].tolist()
        return None if -1 in own else own

    def rows(self, numbers: Sequence[int], batch: Batch) -> Iterator[OwnRows]:
        """The rows of each of these parts, by the first column of `hidden`; the second one has the
        number of hidden values of the part, which follow."""
        for number in numbers:
            rows = np.flatnonzero(batch.hidden[:, 0] == number)
            if not len(rows):
                continue
            some = batch[rows]
            roles = some.roles[:, self.lead :]
            # Only repeated prompts have names, which no part knows, between their tokens.
            tokens = self.own[number].take(some.tokens[:, self.lead :]).clip(0)
            hidden = some.hidden[:, 2 : 2 + int(some.hidden[0, 1])]
            own = Batch(np.where(roles == Role.PAD, 0, tokens), roles, hidden)
            yield OwnRows(number, rows, slice(self.lead, self.lead + roles.shape[1]), own)


@lru_cache(64)
def vocabulary(text: str, named: bool) -> Vocabulary:
    """The vocabulary of the parts that a canonical text names; named: rows begin with a name."""
    parts = read(text, False)
    number = {f"<{part.name}>": i for i, part in enumerate(parts)} if named else {}
    for part in parts:
        for word in part.task.words:
            number.setdefault(word, len(number))
    joint = tuple(np.array([number[word] for word in part.task.words]) for part in parts)
    own = tuple(np.full(len(number), -1) for _ in parts)
    for there, back in zip(joint, own, strict=True):
        back[there] = np.arange(len(there))
    return Vocabulary(tuple(number), joint, own, int(named))


@lru_cache(256)  # a decoder asks for it at every token
def stops(text: str, named: bool, numbers: tuple[int, ...]) -> tuple[int, ...]:
    """The joint stop tokens of these parts; none where a part has none. No task has what ends the
    rows of another one as a word within its own."""
    parts, joint = read(text, False), vocabulary(text, named).joint
    ends = [joint[i][list(parts[i].task.stop)].tolist() for i in numbers]
    return tuple(sorted({token for own in ends for token in own})) if all(ends) else ()
