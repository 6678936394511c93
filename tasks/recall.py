"""Associative recall: read key-value pairs, then give the value of each queried key.

Row for 2 keys, tokens = 16, vocabulary = 12 (keys 0-5, values 6-11). `?` is filler, answers are
in brackets, the rest is prompt:

    2 8  4 7   ? ?  4 [7]  ? ?  ? ?  2 [8]  ? ?        queries = "multi"
    pairs      slots of two tokens, a query in two of them
    2 8  4 7   4 [7]                                   queries = "single"

multi is MQAR (2312.04927, Zoology) in the layout of its published data code: the slots of the
queries are drawn without replacement, slot i (from 1) with weight i^(power - 1), power = 0.01, each
key once; its first setting is 4 pairs in 64 tokens at vocabulary 8192, half of it keys. Ours: the
answer is in the row, after its key; values are drawn independently (there all differ); token 0 is a
key like the others (there it marks filler and is never a key); filler is any token that is not a
key of the row (there it may be one, an unlabelled decoy). single is the task that 2402.18510
(RNNs are not Transformers, Defs. 4.2-4.5) defines without an experiment, in our layout.

With `overwrite` (ours: there a key has one value) a key is written more than once and the last
value counts. `repeats` = N queries
the N-th last value (MQRAR-N in PaTH, 2505.16381; 32 keys, 768 tokens, N to 4; its layout is unknown
to us, this one is ours): each key is written N + 1 times on average and at least N times, in random
order. Row for N = 2 and 1 key:

    4 7  4 9  4 6   4 [9]

Held out: 1/16 of the contexts (below 32 keys: 1 key). The first key decides against a hash of the
values and of the distances of the other keys from it. Shifting all keys of a row by the same amount
changes no answer, so the values are uniform and independent of the choice.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np

from tasks import Batch, Role, Task, refuse
from tasks._shuffle import shuffled
from tasks._split import draw_digit


@dataclass(frozen=True)
class Recall(Task):
    """`length` is the number of keys; it is the number of pairs too if keys are written once."""

    queries: Annotated[Literal["multi", "single"], "query every key once, or one key"] = "multi"
    repeats: Annotated[int, "N: the N-th last value of a key is the answer, from 1"] = 1
    overwrite: Annotated[bool, "write keys again; always so if repeats > 1"] = False
    tokens: Annotated[
        int, "tokens in a row of multi, even; 0: 7 slots per key, 16 tokens per pair"
    ] = 0
    vocabulary: Annotated[int, "number of tokens, half keys and half values, even, 4 to 65536"] = (
        8192
    )
    power: Annotated[float, "power law of the query slots, from 0; 1: uniform, below 1: early"] = (
        0.01
    )
    split: Annotated[str, "rows to draw: train, or test for held-out inputs"] = "train"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.queries not in ("multi", "single"):
            raise refuse("queries", self.queries, "it is multi or single")
        if self.repeats < 1:
            raise refuse("repeats", self.repeats, "a whole number from 1")
        if self.vocabulary not in range(4, 2**16 + 1, 2):
            raise refuse("vocabulary", self.vocabulary, "an even number from 4 to 65536")
        if self.tokens and self.queries == "single":
            raise refuse("tokens", self.tokens, "0 for a single query, which follows the pairs")
        if self.tokens % 2 or (self.tokens and self.tokens < 2 * self._writes + 2):
            raise refuse("tokens", self.tokens, f"0 or an even number from {2 * self._writes + 2}")
        if not 0 <= self.power < np.inf:
            raise refuse("power", self.power, "a number from 0")

    @property
    def words(self) -> tuple[str, ...]:
        half = range(self.vocabulary // 2)
        return (*(f"k{i}" for i in half), *(f"v{i}" for i in half))

    @property
    def layout_given(self) -> bool:
        return self.queries == "multi"

    def chance(self, length: int) -> float:
        """Answers are independent and uniform over the values."""
        return (self.vocabulary // 2) ** -float(length if self.queries == "multi" else 1)

    def sample(self, rng: np.random.Generator, n: int, length: int) -> Batch:
        pairs, T = self._size(length)
        values = rng.integers(self.vocabulary // 2, self.vocabulary, (n, pairs))
        if self._writes == 1:
            keys = written = self._keys(rng, values, length)
            answers = values
        else:
            writer = self._order(rng, n, length)
            keys = self._keys(rng, values, length, writer)
            written = np.take_along_axis(keys, writer, 1)
            answers = _nth_last(values, writer, length, self.repeats)
        context = np.stack([written, values], 2).reshape(n, -1)
        if self.queries == "multi":
            return self._scattered(rng, context, keys, answers, T)

        which = rng.integers(0, length, (n, 1))
        query, answer = np.take_along_axis(keys, which, 1), np.take_along_axis(answers, which, 1)
        tokens = np.concatenate([context, query, answer], 1)
        roles = np.full(T, Role.PROMPT, np.uint8)
        roles[-1] = Role.ANSWER
        return Batch(tokens, np.broadcast_to(roles, tokens.shape))

    def solve(
        self, prompt: Sequence[int], hidden: Sequence[int] = ()
    ) -> tuple[list[int], list[int]]:
        pairs, half = self._pairs(len(prompt)), self.vocabulary // 2
        values: dict[int, list[int]] = {}
        for i in range(pairs):
            key, value = prompt[2 * i : 2 * i + 2]
            if key >= half or value < half:
                raise refuse("prompt", list(prompt), "pairs of a key and a value first")
            values.setdefault(key, []).append(value)
        queries = [token for token in prompt[2 * pairs :] if token in values]
        asked = pairs // self._writes if self.queries == "multi" else 1
        if (
            not pairs
            or len(values) != pairs // self._writes
            or not len(queries) == len(set(queries)) == asked
        ):
            raise refuse("prompt", list(prompt), "distinct keys, each queried once, or one of them")
        return [], [values[key][-self.repeats] for key in queries]

    def dependencies(self, batch: Batch, length: int) -> np.ndarray:
        """An answer depends on the value that it recalls."""
        n, T = batch.tokens.shape
        depends = np.zeros((n, T, T), np.bool_)
        context = 2 * self._size(length)[0]
        written, values = batch.tokens[:, 0:context:2], np.arange(1, context, 2)
        for row, t in np.argwhere(batch.roles == Role.ANSWER):
            of_key = values[written[row] == batch.tokens[row, t - 1]]
            depends[row, t - 1, of_key[-self.repeats]] = True
        return depends

    def unit(self, prompt: Sequence[int], hidden: Sequence[int]) -> Hashable:
        """The context; all its queries and filler are in the same split."""
        return tuple(prompt[: 2 * self._pairs(len(prompt))])

    @property
    def _writes(self) -> int:
        """How many times a key is written, on average."""
        return self.repeats + 1 if self.overwrite or self.repeats > 1 else 1

    def _size(self, length: int) -> tuple[int, int]:
        """The numbers of pairs and of tokens in a row."""
        most = self.vocabulary // 2
        if self.tokens:
            most = min(most, self.tokens // (2 * self._writes + 2))
        if not 1 <= length <= most:
            raise refuse("length", length, f"from 1 to {most} keys fit")
        pairs = length * self._writes
        if self.queries == "single":
            return pairs, 2 * pairs + 2
        return pairs, self.tokens or 2 * pairs + 14 * length

    def _pairs(self, prompt: int) -> int:
        """The number of pairs in a row whose prompt has that many tokens."""
        if self.queries == "single":
            return prompt // 2
        if self.tokens:  # each key takes one answer out of the prompt
            return (self.tokens - prompt) * self._writes
        return prompt // (2 * self._writes + 13) * self._writes

    def _order(self, rng: np.random.Generator, n: int, length: int) -> np.ndarray:
        """Which key each pair writes, int64 [n, pairs]: each key at least `repeats` times."""
        each = np.broadcast_to(np.arange(length), (n, length))
        any_key = rng.integers(0, length, (n, length))
        return shuffled(rng, np.concatenate([each] * self.repeats + [any_key], 1))

    def _keys(
        self,
        rng: np.random.Generator,
        values: np.ndarray,
        length: int,
        writer: np.ndarray | None = None,
    ) -> np.ndarray:
        """Distinct keys int64 [n, length] in random order. Without `writer`, pair i writes key i.

        The split determines the first key written; the others follow at their random distances.
        """
        n, size = len(values), self.vocabulary // 2
        apart = np.zeros((n, length), np.int64)  # from the first key written
        apart[:, 1:] = 1 + _distinct(rng, n, size - 1, length - 1)
        others = apart[:, 1:]
        if writer is not None:
            row, first = np.arange(n), writer[:, 0]
            apart[row, 0], apart[row, first] = apart[row, first], 0
            others = np.take_along_axis(apart, writer, 1)[:, 1:]
        rest = np.concatenate([others, values], 1)
        z = draw_digit(rng, rest, size, max(1, size // 16), self.split == "test")
        return (apart + z[:, None]) % size

    def _scattered(
        self,
        rng: np.random.Generator,
        context: np.ndarray,
        keys: np.ndarray,
        answers: np.ndarray,
        T: int,
    ) -> Batch:
        """Rows of the context, then every key with its answer in its own slot, the rest filler."""
        n, length = keys.shape
        start = context.shape[1]
        tokens = _filler(rng, keys, T, self.vocabulary)
        tokens[:, :start] = context
        slots = _slots(rng, n, (T - start) // 2, length, self.power)
        at = np.arange(n)[:, None] * T + start + 2 * slots
        tokens.ravel()[at] = keys
        tokens.ravel()[at + 1] = answers
        roles = np.full((n, T), Role.PROMPT, np.uint8)
        roles.ravel()[at + 1] = Role.ANSWER
        return Batch(tokens, roles)


def _distinct(rng: np.random.Generator, n: int, size: int, k: int) -> np.ndarray:
    """k distinct numbers below `size` in random order, int64 [n, k].

    Floyd's algorithm (Bentley and Floyd 1987): k draws per row, for every size.
    """
    chosen = np.empty((k, n), np.int64)
    for i in range(k):
        last = size - k + i
        draw = rng.integers(0, last + 1, n)
        chosen[i] = np.where((chosen[:i] == draw).any(0), last, draw)
    return shuffled(rng, chosen.T)


def _filler(rng: np.random.Generator, keys: np.ndarray, width: int, vocabulary: int) -> np.ndarray:
    """Tokens int64 [n, width], uniform over the vocabulary without the keys of the row.

    Drawn from all but the last `length` tokens, which are values; a draw equal to key j is
    replaced by the j-th of those.
    """
    n, length = keys.shape
    tokens = rng.integers(0, vocabulary - length, (n, width))
    narrow, narrow_keys = tokens.astype(np.uint16), keys.astype(np.uint16)
    hit = narrow == narrow_keys[:, :1]
    for j in range(1, length):
        hit |= narrow == narrow_keys[:, j : j + 1]
    row, column = np.nonzero(hit)
    which = (keys[row] == tokens[row, column][:, None]).argmax(1)
    tokens[row, column] = vocabulary - length + which
    return tokens


def _slots(rng: np.random.Generator, n: int, space: int, length: int, power: float) -> np.ndarray:
    """`length` distinct slots below `space`, in the order of their draws, int64 [n, length].

    Exponential times with the weights as rates, in ascending order, are successive draws without
    replacement. The low bits of each time are replaced by its slot, so one sort gives the slots.
    """
    times = rng.standard_exponential((n, space))
    times *= np.arange(1, space + 1) ** (1 - power)
    low = (1 << space.bit_length()) - 1
    order = times.view(np.int64)
    order &= ~low
    order |= np.arange(space)
    order.sort(axis=1)
    return order[:, :length] & low


def _nth_last(values: np.ndarray, writer: np.ndarray, length: int, nth: int) -> np.ndarray:
    """The nth last value written to each key, int64 [n, length]."""
    n, pairs = values.shape
    cell = np.arange(n)[:, None] * length + writer
    wait = np.full(n * length, nth)
    result = np.empty(n * length, np.int64)
    for i in reversed(range(pairs)):
        here = cell[:, i]
        wait[here] -= 1
        hit = wait[here] == 0
        result[here[hit]] = values[hit, i]
    return result.reshape(n, length)
