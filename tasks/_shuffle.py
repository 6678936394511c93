"""Helper of recall and shortest_path: rows of small numbers in random order."""

from __future__ import annotations

import numpy as np


def shuffled(rng: np.random.Generator, columns: np.ndarray) -> np.ndarray:
    """Each row of numbers below 2^16 in random order, by sorting on 47 random bits in front."""
    return np.sort(rng.integers(0, 2**47, columns.shape) << 16 | columns, axis=1) & 0xFFFF
