"""Helper of bigram and star: tables whose rows are distributions of a given entropy, and draws."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_HALVINGS = 80  # of the interval of a scale, to the last bits of a float64


def of_entropy(scores: np.ndarray, bits: np.ndarray) -> np.ndarray:
    """The softmax of every row of `scores` [m, V] times the scale that gives it `bits` [m] bits.

    The entropy falls from log2(V) at the scale 0 to 0, so halving an interval finds the scale.
    Float64 [m, V]; 0 bits leave all probability to the largest score.
    """
    gaps = scores - scores.max(1, keepdims=True)
    low, high = np.zeros((len(scores), 1)), np.full((len(scores), 1), 2.0**24)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        flat = (row_entropy(_softmax(gaps * middle)) / np.log(2) > bits)[:, None]
        low, high = np.where(flat, middle, low), np.where(flat, high, middle)
    return np.where(bits[:, None] > 0, _softmax(gaps * high), gaps == 0)


def row_entropy(table: np.ndarray) -> np.ndarray:
    """The entropy of every row [..., V], in nats."""
    total: np.ndarray = -(table * np.log(np.where(table > 0, table, 1))).sum(-1)
    return total


class Alias(NamedTuple):
    """A table [m, V] in the form of Walker (1977), from which a draw takes the same time for every
    table: choose one of V cells, then keep its symbol or take the other one of the cell.

    keep: probability to keep the symbol, float64 [m * V]. other: int64 [m * V]. size: V.
    """

    keep: np.ndarray
    other: np.ndarray
    size: int

    @classmethod
    def of(cls, table: np.ndarray) -> Alias:
        """Each step fills the cell of the least probable symbol from the most probable one."""
        m, V = table.shape
        row, left = np.arange(m), table * V
        keep, other, full = np.ones((m, V)), np.tile(np.arange(V), (m, 1)), np.zeros((m, V), bool)
        for _ in range(V - 1):
            least = np.where(full, np.inf, left).argmin(1)
            most = np.where(full, -np.inf, left).argmax(1)
            keep[row, least], other[row, least] = left[row, least], most
            left[row, most] -= 1 - left[row, least]
            full[row, least] = True
        return cls(keep.ravel(), other.ravel(), V)

    def draw(self, row: np.ndarray, cell: np.ndarray, u: np.ndarray) -> np.ndarray:
        """Symbols drawn from rows of the table. cell: uniform below V; u: uniform below 1."""
        at = row * self.size + cell
        return np.where(u < self.keep.take(at), cell, self.other.take(at))


def _softmax(scores: np.ndarray) -> np.ndarray:
    weights = np.exp(scores)
    shares: np.ndarray = weights / weights.sum(1, keepdims=True)
    return shares
