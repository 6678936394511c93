"""Helper for splits that are disjoint by construction: one digit of a row decides its split.

A row is divided into a digit z in [0, size) and the rest. With F = fingerprint(rest) mod size the
row is held out if (z - F) mod size < held. So every rest has exactly `held` held-out digits and
`size - held` training digits. A sampler draws the rest freely, draws c from the range of its split
and sets z = (c + F) mod size: this is exact, needs no rejection, and no row is in both splits.
Whatever does not depend on z (choose z so that the label does not) has the same distribution in
both splits.
"""

from __future__ import annotations

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def fingerprint(columns: np.ndarray, key: int = 0) -> np.ndarray:
    """A keyed hash of each row: integers [n, m] -> uint64 [n].

    Multiply-add with one odd 64-bit key per column, then the finalizer of SplitMix64 (Steele et al.
    2014), so that the low bits depend on every column.
    """
    n, m = columns.shape
    with np.errstate(over="ignore"):
        keys = _mix(np.arange(1, m + 1, dtype=np.uint64) * _GOLDEN + _word(key)) | np.uint64(1)
        total = columns.astype(np.uint64, copy=False) @ keys if m else np.zeros(n, np.uint64)
        return _mix(total + _word(key))


def draw_digit(
    rng: np.random.Generator, rest: np.ndarray, size: int, held: int, test: bool, key: int = 0
) -> np.ndarray:
    """Digits int64 [n] that put each row, with its rest [n, m], into the wanted split."""
    low, high = (0, held) if test else (held, size)
    c = rng.integers(low, high, len(rest))
    return (c + (fingerprint(rest, key) % np.uint64(size)).astype(np.int64)) % size


def held_out(digit: np.ndarray, rest: np.ndarray, size: int, held: int, key: int = 0) -> np.ndarray:
    """Whether each row, given by its digit [n] and its rest [n, m], is held out: bool [n]."""
    return (digit - (fingerprint(rest, key) % np.uint64(size)).astype(np.int64)) % size < held


def _word(key: int) -> np.uint64:
    return np.uint64(key & 0xFFFFFFFFFFFFFFFF)


def _mix(x: np.ndarray) -> np.ndarray:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
