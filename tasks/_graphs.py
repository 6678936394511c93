"""Helper of istree: random graphs of n nodes and n - 1 edges, many at once, and their split."""

from __future__ import annotations

import numpy as np

from tasks._split import draw_digit, fingerprint


def orders(rng: np.random.Generator, n: int, size: int) -> np.ndarray:
    """Random permutations of 0 to size - 1, int64 [n, size]: the low bits of sorted noise."""
    low = np.uint32(2 ** size.bit_length() - 1)
    noise = rng.integers(0, 2**32, (n, size), np.uint32) & ~low
    noise |= np.arange(size, dtype=np.uint32)
    noise.sort(1)
    return (noise & low).astype(np.int64)


def by_row(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """values [n, m, ...] at places [n, k] of each row."""
    n, m = values.shape[:2]
    flat = values.reshape(n * m, *values.shape[2:])
    return flat.take(places + np.arange(0, n * m, m)[:, None], axis=0)


def two_hub(rng: np.random.Generator, n: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Endpoints [n, length - 1, 2] of the edges, in no particular order; bool [n]: is a tree."""
    label = orders(rng, n, length).astype(np.int16)
    side = rng.integers(0, 2, (n, length - 2), np.uint8)
    ends = np.empty((n, length - 1, 2), np.int16)
    ends[:, :-1, 0] = label[:, 2:]
    ends[:, :-1, 1] = label[:, :1] + side * (label[:, 1:2] - label[:, :1])
    ends[:, -1] = label[:, 2:4]
    return ends, side[:, 0] != side[:, 1]


def recursive(rng: np.random.Generator, n: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """The same for a random recursive tree, or one with an extra edge and an isolated node."""
    ends = np.empty((n, length - 1, 2), np.int64)
    ends[:, :, 0] = child = np.arange(1, length)
    ends[:, :, 1] = rng.random((n, length - 1)) * child
    tree = rng.integers(0, 2, n) == 1
    rows = np.flatnonzero(~tree)
    a, b = np.tril_indices(length - 3)  # a + 2 nodes precede node a + 2; one is its father
    pair = rng.integers(0, len(a), len(rows))
    a, b = a[pair] + 2, b[pair]
    ends[rows, -1, 0], ends[rows, -1, 1] = a, b + (b >= ends[rows, a - 1, 1])
    label = orders(rng, n, length).astype(np.int16)
    return by_row(label, ends.reshape(n, -1)).reshape(ends.shape), tree


def hold_out(rng: np.random.Generator, ends: np.ndarray, test: bool) -> np.ndarray:
    """Shift the labels of each row [n, m, 2] so that its graph falls into the split."""
    nodes = ends.shape[1] + 1
    size = nodes if nodes % 2 else nodes // 2
    # A shift by s adds 2s(n - 1), that is -2s modulo n, to the sum; half of it is -s.
    total = ends.sum((1, 2), dtype=np.int64) % nodes
    z = -(total * (nodes + 1) if nodes % 2 else total) // 2 % size
    around = np.arange(2 * nodes) % nodes
    code = fingerprint(around[:, None]).take(ends + (nodes - z).astype(np.int16)[:, None, None])
    rest = (code[:, :, 0] * code[:, :, 1]).sum(1)[:, None]
    shift = (draw_digit(rng, rest, size, max(1, size // 16), test) - z) % nodes
    return around.astype(np.int16).take(ends + shift.astype(np.int16)[:, None, None])
