"""Which compositions are seen in training: an exact choice of ranks, keyed and never enumerated.

The compositions of a task (k indices out of d, T operations out of D) are numbered from 0 to
total - 1 and a rank is unfolded only for the rows that need it. The seen ones are `wanted` distinct
ranks; all others are unseen. An unseen rank is drawn exactly and without rejection: draw u among
total - wanted numbers and step over the seen ranks that lie below it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import comb

import numpy as np

from tasks import Batch, Role, refuse

MOST = 2**62  # compositions, so that a rank and every step of its arithmetic fit in int64
_WIDEST = 2**20  # seen compositions; the choice never holds more than some 50 times as many


def choose(
    total: int,
    wanted: int,
    length: int,
    key: Sequence[int],
    allowed: Callable[[np.ndarray], np.ndarray] | None = None,
) -> np.ndarray:
    """The seen ranks int64 [wanted], ascending; `allowed` tells bool [m] for ranks [m]."""
    if total > MOST:
        raise refuse("length", length, "it gives more than 2^62 compositions, too many to number")
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
    """Ranks int64 [n], uniform over the seen ones or over all that are not."""
    if not unseen:
        return seen[rng.integers(0, len(seen), n)]
    u = rng.integers(0, total - len(seen), n)
    return u + np.searchsorted(seen - np.arange(len(seen)), u, side="right")


def combinations(ranks: np.ndarray, d: int, k: int) -> np.ndarray:
    """k of d indices, ascending, int64 [n, k]: the combinatorial number system.

    Rank C(c_k, k) + ... + C(c_1, 1) stands for c_1 < ... < c_k, so the largest index is found
    first, by binary search among the binomials below the rest of the rank.
    """
    left = ranks.astype(np.int64)
    out = np.empty((len(ranks), k), np.int64)
    for j in range(k, 0, -1):
        binomials = np.array([comb(c, j) for c in range(d)], np.int64)
        out[:, j - 1] = np.searchsorted(binomials, left, side="right") - 1
        left -= binomials[out[:, j - 1]]
    return out


def arrangements(ranks: np.ndarray, d: int, k: int) -> np.ndarray:
    """k of d indices in any order, int64 [n, k]: digit j picks among the d - j not used before."""
    out = np.empty((len(ranks), k), np.int64)
    left = ranks.astype(np.int64)
    for j in range(k):
        left, out[:, j] = np.divmod(left, d - j)
    for j in range(k - 2, -1, -1):  # what was chosen later skips over what was chosen at j
        out[:, j + 1 :] += out[:, j + 1 :] >= out[:, j : j + 1]
    return out


def digits(ranks: np.ndarray, base: int, T: int) -> np.ndarray:
    """T choices out of `base` with repetition, int64 [n, T]: the digits of the rank."""
    powers = np.array([base**t for t in range(T)], np.int64)
    return ranks[:, None] // powers % base


def last_example(batch: Batch) -> Batch:
    """The rows with all before their last example turned into PROMPT: up to the last but one
    ANSWER, one token in each example."""
    left = (batch.roles == Role.ANSWER)[:, ::-1].cumsum(1)[:, ::-1]
    return Batch(batch.tokens, np.where(left > 1, np.uint8(Role.PROMPT), batch.roles), batch.hidden)


def place_in_example(batch: Batch, contexts: int) -> np.ndarray:
    """The same ids int64 [n, T] for every example: 0, 1, ... in each of the `contexts` of a row."""
    n, T = batch.tokens.shape
    return np.tile(np.arange(T) % (T // contexts), (n, 1))
