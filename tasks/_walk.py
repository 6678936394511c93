"""Helper of istree: depth-first search in many graphs at once, one visit of every row per step.

A row has N nodes and N - 1 edges; the order of the edges is the order of a node's neighbours. Each
row has W slots in the tables:

    0 .. 2N-3    arcs: arc 2j leaves the first end of edge j, arc 2j + 1 the second one
    2N-2, 2N-1   the end of a list of arcs, and the node `over` where a finished walk stays
    2N + v       node v

Slots are numbered through all rows, so each step is a few `take` calls on flat tables.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_NEW = -1


class Facts(NamedTuple):
    """What a search reads at each visit: int16 and bool [T, n]; a node, or -1 for none."""

    father: np.ndarray
    child: np.ndarray  # the child that the search returns from; -1 on the first visit
    neighbour: np.ndarray  # the first neighbour, or the one after `child`; may be the father
    other: np.ndarray  # the same, but the one after it if that is the father
    fresh: np.ndarray  # bool: `other` is a node that was not visited before
    above: np.ndarray  # the father of `other` if it was visited before; -1 for the root


class Walk(NamedTuple):
    """A search from node 0 that stops when it meets a visited neighbour other than the father."""

    node: np.ndarray  # int64 [T + 1, n] slot of the visited node; T = 2N - 1 visits at most
    ask: np.ndarray  # int64 [T, n] the slot before the next arc: the node or its last arc
    after: np.ndarray  # int64 [n * W] the next arc from the same node (of a node: its first arc)
    to: np.ndarray  # int64 [n * W] the node an arc leads to (of a node: the arc to its father)
    label: np.ndarray  # int16 [n * W] label of the node an arc leads to (of a node: its own)

    def nodes(self) -> np.ndarray:
        """Labels int16 [T, n] of the visited nodes, -1 once the walk is over."""
        return self.label.take(self.node[:-1])

    def facts(self) -> Facts:
        """What the search reads at each visit."""
        node, label = self.node[:-1], self.label
        home, arc = self.to.take(node), self.after.take(self.ask)
        behind = np.where(arc == home, self.after.take(arc), arc)
        v, other = self.to.take(behind), label.take(behind)
        fresh = (self.node[1:] == v) & (other >= 0)
        return Facts(
            father=label.take(home),
            child=np.where(self.ask == node, np.int16(-1), label.take(self.ask)),
            neighbour=label.take(arc),
            other=other,
            fresh=fresh,
            above=np.where(fresh, np.int16(-1), label.take(self.to.take(v))),
        )


def walk(ends: np.ndarray) -> Walk:
    """Search graphs given as edges [n, N - 1, 2]."""
    n, m = ends.shape[:2]
    N = m + 1
    W = 3 * N + N % 2  # even, so that the two arcs of an edge differ in the last bit
    row = np.arange(0, n * W, W)
    end, over = row + 2 * N - 2, row + 2 * N - 1
    tail = ends.reshape(n, 2 * m)

    label = np.full((n, W), -1, np.int16)
    label[:, 0 : 2 * m : 2], label[:, 1 : 2 * m : 2] = ends[:, :, 1], ends[:, :, 0]
    label[:, 2 * N : 3 * N] = np.arange(N)
    to = np.full((n, W), _NEW, np.int64)
    np.add(label[:, : 2 * m], row[:, None] + 2 * N, out=to[:, : 2 * m])
    to[:, 2 * N - 2], to[:, 2 * N - 1], to[:, 2 * N] = over, end, end

    # Sorted by (tail, number), the arcs of a node follow each other; the node itself comes first.
    bits = (2 * m).bit_length()
    dtype = np.uint16 if 2 ** (16 - bits) >= N else np.uint32
    keys = tail.astype(dtype) << bits | np.arange(2 * m, dtype=dtype)
    keys.sort(1)
    arcs, tails = keys & dtype(2**bits - 1), keys >> bits
    before = tails + dtype(2 * N)
    before[:, 1:] = np.where(tails[:, 1:] == tails[:, :-1], arcs[:, :-1], before[:, 1:])
    after = np.repeat(end, W)
    after[before + row[:, None]] = arcs + row[:, None]

    to = to.ravel()
    T = 2 * N - 1
    node, ask = np.empty((T + 1, n), np.int64), np.empty((T + 1, n), np.int64)
    node[0] = ask[0] = row + 2 * N
    for t in range(T):
        arc, home = after.take(ask[t]), to.take(node[t])
        np.copyto(arc, after.take(arc), where=arc == home)
        v = to.take(arc)
        back, seen = arc == end, to.take(v) != _NEW
        np.copyto(v, over, where=seen)
        arc ^= 1  # the arc from a new node to its father
        np.copyto(arc, end, where=seen)
        to[v] = arc
        node[t + 1] = np.where(back, to.take(home), v)
        ask[t + 1] = np.where(back, home ^ 1, v)
    return Walk(node, ask[:-1], after, to, label.ravel())
