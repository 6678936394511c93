"""Helper of shortest_path: random connected graphs, and searches in many graphs at once.

V nodes, m edges, n graphs. Graphs are the last axis of the tables, so each step of a search is a
few operations on long rows.
"""

from __future__ import annotations

import numpy as np

from tasks._graphs import by_row, orders
from tasks._shuffle import shuffled


def attached(rng: np.random.Generator, n: int, V: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    """The smaller and the larger label of every edge, in random order, int64 [n, m] each.

    Every node but the first has an edge to a uniform earlier one, the last m - V + 1 nodes have a
    second edge to another earlier one; then labels are permuted.
    """
    first, second = np.arange(1, V), np.arange(2 * V - 1 - m, V)
    one = (rng.random((n, len(first))) * first).astype(np.int64)
    other = (rng.random((n, len(second))) * (second - 1)).astype(np.int64)
    other += other >= one[:, second - 1]
    label = orders(rng, n, V)
    u = label[:, np.concatenate([first, second])]
    v = by_row(label, np.concatenate([one, other], 1))
    low, high = np.divmod(shuffled(rng, np.minimum(u, v) * V + np.maximum(u, v)), V)
    return low, high


def neighbours(low: np.ndarray, high: np.ndarray, V: int) -> np.ndarray:
    """Whether two nodes are adjacent, bool [V, V, n], from the edges [n, m]."""
    n = len(low)
    near, graph = np.zeros((V, V, n), np.bool_), np.arange(n)[:, None]
    near.ravel()[(low * V + high) * n + graph] = True
    near.ravel()[(high * V + low) * n + graph] = True
    return near


def distances(near: np.ndarray, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Distances int16 [V, n] from the target; V where the search had reached all sources before."""
    V, n = near.shape[1:]
    graph, layer = np.arange(n), 0
    away = np.full((V, n), V, np.int16)
    away[target, graph] = 0
    while (away[source, graph] == V).any():
        reached = (near & (away == layer)).any(1)
        layer += 1
        away[reached & (away == V)] = layer
    return away


def layers(away: np.ndarray, last: int) -> tuple[np.ndarray, np.ndarray]:
    """The nodes but the target by distance and label, int64 [n, V - 1 + last] each: their layer and
    their label. After each layer up to `last` comes an end, whose label is V."""
    V, n = away.shape
    keys = np.empty((n, V + last), np.uint16)
    keys[:, :V] = away.T * np.int32(2 * V) + np.arange(V)
    keys[:, V:] = np.arange(1, last + 1) * 2 * V + V
    keys.sort(1)
    layer, label = np.divmod(keys[:, 1:], np.uint16(2 * V))
    return layer.astype(np.int64), label.astype(np.int64)


def paths(near: np.ndarray, away: np.ndarray, source: np.ndarray, most: int) -> np.ndarray:
    """The first `most` nodes of the paths from the source, int64 [n, most]: each is the smallest
    neighbour that is closer to the target. What comes after the target means nothing."""
    graph, node = np.arange(len(source)), source
    left = away[source, graph][:, None]
    path = np.empty((len(source), most), np.int64)
    path[:, 0] = source
    for t in range(1, most):
        node = (near[node, :, graph] & (left - t == away.T)).argmax(1)
        path[:, t] = node
    return path
