"""Helper of the compose tasks: which compositions are seen in training, chosen without a full list.

A composition (k of d indices, or T operations out of D) is identified by its rank, a number from 0
to total - 1. A rank is turned into its composition only for the rows that need it. `choose` draws
`wanted` distinct ranks from a fixed key; these are the seen compositions and all others are unseen.
`draw` picks an unseen rank exactly, without rejection: it draws u below total - wanted and adds one
for every seen rank that u passes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import comb

import numpy as np

from tasks import Batch, Role, Task, refuse

MOST = 2**62  # compositions at most, so that all arithmetic on ranks fits in int64
_WIDEST = 2**20  # candidate ranks drawn at most, which bounds the memory of `choose`


def choose(
    total: int,
    wanted: int,
    length: int,
    key: Sequence[int],
    allowed: Callable[[np.ndarray], np.ndarray] | None = None,
) -> np.ndarray:
    """The seen ranks, int64 [wanted], ascending. allowed(ranks [m]) -> bool [m] restricts them.

    ValueError where `length` has too many compositions, or too few for `wanted`.
    """
    if total > MOST:
        raise refuse(
            "length", length, "it gives more than 2^62 compositions, the most that can be numbered"
        )
    if wanted >= total:
        raise refuse(
            "train_tasks",
            wanted,
            f"length {length} has {total} compositions, and at least one must stay unseen",
        )
    most = min(total, _WIDEST)
    width = min(wanted, most)
    while True:
        rng = np.random.default_rng(np.random.SeedSequence(key))
        ranks = rng.choice(total, width, replace=False)
        kept = ranks if allowed is None else ranks[allowed(ranks)]
        if len(kept) >= wanted:
            seen = np.sort(kept[:wanted])
            seen.flags.writeable = False
            return seen
        if width == most:
            raise refuse(
                "train_tasks", wanted, f"length {length} allows at most {len(kept)} for training"
            )
        width = min(2 * width, most)


def draw(
    rng: np.random.Generator, n: int, total: int, seen: np.ndarray, unseen: bool
) -> np.ndarray:
    """Ranks int64 [n], uniform over the seen ones or over all unseen ones below `total`."""
    if not unseen:
        return seen[rng.integers(0, len(seen), n)]
    u = rng.integers(0, total - len(seen), n)
    return u + np.searchsorted(seen - np.arange(len(seen)), u, side="right")


def combinations(ranks: np.ndarray, d: int, k: int) -> np.ndarray:
    """Ranks [n] to combinations of k of d indices, ascending, int64 [n, k].

    This is the combinatorial number system: rank C(c_k, k) + ... + C(c_1, 1) is the combination
    c_1 < ... < c_k. The largest index comes first, by binary search among the binomials.
    """
    left = ranks.astype(np.int64)
    out = np.empty((len(ranks), k), np.int64)
    for j in range(k, 0, -1):
        binomials = np.array([comb(c, j) for c in range(d)], np.int64)
        out[:, j - 1] = np.searchsorted(binomials, left, side="right") - 1
        left -= binomials[out[:, j - 1]]
    return out


def arrangements(ranks: np.ndarray, d: int, k: int) -> np.ndarray:
    """Ranks [n] to k distinct indices of d in any order, int64 [n, k].

    Digit j of the rank selects one of the d - j indices that are not used yet.
    """
    out = np.empty((len(ranks), k), np.int64)
    left = ranks.astype(np.int64)
    for j in range(k):
        left, out[:, j] = np.divmod(left, d - j)
    for j in range(k - 2, -1, -1):  # later choices skip the index chosen at j
        out[:, j + 1 :] += out[:, j + 1 :] >= out[:, j : j + 1]
    return out


def digits(ranks: np.ndarray, base: int, T: int) -> np.ndarray:
    """Ranks [n] to T choices out of `base` with repetition, int64 [n, T]: the rank's digits."""
    powers = np.array([base**t for t in range(T)], np.int64)
    return ranks[:, None] // powers % base


def last_example(batch: Batch) -> Batch:
    """The rows with everything before their last example given the role PROMPT.

    Each example has one ANSWER token, so this is everything up to the last but one ANSWER.
    """
    left = (batch.roles == Role.ANSWER)[:, ::-1].cumsum(1)[:, ::-1]
    return Batch(batch.tokens, np.where(left > 1, np.uint8(Role.PROMPT), batch.roles), batch.hidden)


def solve_last(
    task: Task,
    before: Sequence[int],
    contexts: int,
    inputs: int,
    supervised: int,
    hidden: Sequence[int],
) -> tuple[list[int], list[int]]:
    """`Task.solve_scored`: what `solve` says of the last example alone. inputs, supervised: tokens
    of an example."""
    given = contexts * (inputs + supervised) - supervised
    if inputs < 1 or len(before) != given or not len(hidden):
        text = " ".join(task.words[token] for token in before)
        raise refuse("prompt", text, f"{contexts} examples of equal size and their hidden values")
    alone = replace(task, contexts=1)  # type: ignore[type-var]
    return Task.solve_scored(alone, before[-inputs:], hidden)


def place_in_example(batch: Batch, contexts: int) -> np.ndarray:
    """Position ids int64 [n, T] that start at 0 in each of the `contexts` examples of a row."""
    n, T = batch.tokens.shape
    return np.tile(np.arange(T) % (T // contexts), (n, 1))
