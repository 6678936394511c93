"""Rows are independent draws: they depend on the generator alone, not on n, on their index in a
batch or on the rows beside them, and they come from more than a few hundred blocks.

Each test compares counts of equal rows, or means of features, with what independent rows give. The
bounds are 6 standard errors wide and the rows are fixed, so a correct task never fails by chance.
"""

from __future__ import annotations

from math import comb

import numpy as np

from lab.data.rows import BLOCK, stream
from lab.testing.properties import sample
from tasks import Batch, Task

BLOCKS = 8
CALLS = 256  # small batches: pairs of them that are equal tell of up to about 2,000 blocks
_Z = 6.0
_POSITIONS = 64


def rows_are_independent(task: Task, allowed: list[int]) -> None:
    """Rows depend neither on their number nor on their index, and none is repeated."""
    length = allowed[len(allowed) // 2]
    few_blocks(task, length)
    blocks = [_draw(task, i, BLOCK, length) for i in range(BLOCKS)]
    width = max(block.tokens.shape[1] for block in blocks)
    keys = np.stack([_keys(block) for block in blocks])
    repeated(keys, length)
    small = [_draw(task, BLOCKS + i, 1 + i % 9, length) for i in range(CALLS)]
    features = np.concatenate([_features(task, batch, width) for batch in (*blocks, *small)])
    features = _standard(features, BLOCKS * BLOCK)
    of_blocks, of_small = features[: BLOCKS * BLOCK], features[BLOCKS * BLOCK :]
    by_index(task, of_blocks, width, length)
    by_number(task, of_blocks, of_small, width, length)


def few_blocks(task: Task, length: int) -> None:
    """AssertionError where calls with different generators give the same rows too often."""
    batches = [_keys(_draw(task, i, 4, length)) for i in range(CALLS)]
    distinct, counts = np.unique(np.stack(batches), axis=0, return_counts=True)
    equal = int((counts * (counts - 1) // 2).sum())
    chance = comb(CALLS, 2) * _equal_rate(np.concatenate(batches)) ** 4
    assert equal <= 3 + 6 * chance, (
        f"{CALLS} calls with different generators give only {len(distinct)} different batches of"
        f" length {length}: rows come from about {comb(CALLS, 2) // equal} blocks"
    )


def repeated(keys: np.ndarray, length: int) -> None:
    """AssertionError where rows of one block, or of one index, are equal too often.

    keys: uint64 [blocks, rows], equal where rows are.
    """
    within = sum(_equal_pairs(block) for block in keys)
    across = _equal_pairs(keys.ravel()) - within
    same_index = sum(_equal_pairs(column) for column in keys.T)
    pairs_across = comb(keys.size, 2) - len(keys) * comb(keys.shape[1], 2)
    pairs_index = keys.shape[1] * comb(len(keys), 2)
    rate = (across - same_index) / (pairs_across - pairs_index)
    for equal, pairs, where in (
        (within, len(keys) * comb(keys.shape[1], 2), f"repeat within a block of {BLOCK:,}"),
        (same_index, pairs_index, "are the same at the same index of every block"),
    ):
        expected = rate * pairs
        assert equal <= 3 + 1.5 * expected + _Z * expected**0.5, (
            f"length {length}: rows {where}: {equal} pairs are equal, {expected:.0f} by chance"
        )


def by_index(task: Task, features: np.ndarray, width: int, length: int) -> None:
    """AssertionError where a token depends on the index of its row, or on the row before it."""
    n, i = len(features), np.arange(BLOCK)
    signals = {
        "even and odd indices": (-1.0) ** i,
        "first and second half": np.where(i < BLOCK // 2, 1.0, -1.0),
        "first 16 rows and others": np.where(i < 16, 1.0, 0.0),
        **{f"index modulo {m}": np.cos(2 * np.pi * i / m) for m in (3, 4, 8)},
    }
    for name, signal in signals.items():
        signal = np.tile((signal - signal.mean()) / signal.std(), BLOCKS)
        worst, at = _largest(features.T @ signal / n**0.5)
        assert worst <= _Z, (
            f"length {length}: {_feature(task, at, width)} depends on the index of the row in its"
            f" block ({name} differ)"
        )
    by_block = features.reshape(BLOCKS, BLOCK, -1)
    after = (by_block[:, 1:] * by_block[:, :-1]).sum((0, 1)) / (n - BLOCKS) ** 0.5
    worst, at = _largest(after)
    assert worst <= _Z, f"length {length}: {_feature(task, at, width)} depends on the row before it"


def by_number(task: Task, features: np.ndarray, small: np.ndarray, width: int, length: int) -> None:
    """AssertionError where batches of 1 to 9 rows have other tokens than blocks."""
    apart = small.mean(0) - features.mean(0)
    worst, at = _largest(apart / (1 / len(small) + 1 / len(features)) ** 0.5)
    assert worst <= _Z, (
        f"length {length}: {_feature(task, at, width)} depends on the number of rows:"
        f" 1 to 9 rows differ from {BLOCK:,}"
    )


def _draw(task: Task, number: int, n: int, length: int) -> Batch:
    seed = stream(17, "independence", number).generate_state(1)[0]
    return sample(task, int(seed), n, length)


def _keys(batch: Batch) -> np.ndarray:
    """A keyed sum of each row, uint64 [n]: equal for equal rows of any batch."""
    T = batch.tokens.shape[1]
    weights = np.random.default_rng(1).integers(1, 2**63, T, np.uint64)
    return (batch.tokens * 8 + batch.roles).astype(np.uint64) @ weights


def _equal_pairs(keys: np.ndarray) -> int:
    counts = np.unique(keys, return_counts=True)[1]
    return int((counts * (counts - 1) // 2).sum())


def _equal_rate(keys: np.ndarray) -> float:
    return _equal_pairs(keys) / comb(len(keys), 2)


def _places(width: int) -> np.ndarray:
    return np.unique(np.linspace(0, width - 1, _POSITIONS).astype(int))


def _features(task: Task, batch: Batch, width: int) -> np.ndarray:
    """Numbers float32 [n, places * kinds] of the tokens at up to 64 places: one for each word of a
    small vocabulary, else the token id; 0 at padding."""
    n, T = batch.tokens.shape
    places = _places(width)
    tokens = np.zeros((n, len(places)), np.int64)
    inside = places < T
    tokens[:, inside] = np.where(
        batch.roles[:, places[inside]] > 0, batch.tokens[:, places[inside]] + 1, 0
    )
    if len(task.words) <= 8:
        kinds = np.arange(1, len(task.words) + 1)
        return (tokens[:, :, None] == kinds).reshape(n, -1).astype(np.float32)
    return tokens.astype(np.float32)


def _standard(features: np.ndarray, first: int) -> np.ndarray:
    """Features with mean 0 and variance 1 in the `first` rows; what is rare counts as 5 standard
    deviations at most, so that two rare tokens in a row prove nothing."""
    own = features[:first]
    scale = np.maximum(own.std(0), 1e-6)
    clipped = np.clip((features - own.mean(0)) / scale, -5, 5)
    result: np.ndarray = clipped - clipped[:first].mean(0)
    return result


def _largest(z: np.ndarray) -> tuple[float, int]:
    at = int(np.abs(z).argmax())
    return float(abs(z[at])), at


def _feature(task: Task, at: int, width: int) -> str:
    kinds = len(task.words) if len(task.words) <= 8 else 1
    place = int(_places(width)[at // kinds])
    word = f"the token {task.words[at % kinds]!r}" if kinds > 1 else "the token"
    return f"{word} at position {place}"
