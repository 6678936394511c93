"""The shortest path between two nodes of a graph; the thought is a search from the target.

Row for 6 nodes and 7 edges (length 6), the path from 2 to 4:

    3 - 4 3 - 5 1 - 4 0 - 3 0 - 1 4 - 5 0 - 2 ? 2 4 : 1 3 5 | 0 | 2 > 2 0 1 4 .
    prompt                                            thought         answer

The prompt is an edge list in random order, then the source and the target. The thought has the
layers of a breadth-first search from the target: all nodes at distance 1, then 2, and so on up to
the layer of the source, each in ascending order. The answer is the path from the source. Of several
neighbours that are one step closer to the target (above 1 and 3) the smallest is next, so every row
has one answer, the first of its shortest paths in the order of a dictionary.

Graphs are connected: node i of a random recursive tree has an edge to a uniform earlier node, the
last `extra` * (nodes - 2) nodes have a second one, and labels are permuted. Source and target are a
uniform pair. The most common answers are paths of one edge: chance is the probability that two
nodes are adjacent over the number of ordered pairs.

Source: 2410.19034 (Mixture of Parrots), shortest path: a million training graphs, 1,000 fresh ones
of the same distribution to test. Its graphs, sizes, format and thought are not known to us: all of
this is ours.

Held out: 1/16 of the pairs of nodes of every graph (at least one), whatever the order of edges and
whichever is the source; the distances have the same distribution in both splits.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from tasks import Batch, Role, Task, left_align, refuse
from tasks._paths import attached, distances, layers, neighbours, paths
from tasks._split import draw_digit, fingerprint

_MARKS = "- ? : | > ."
_EDGE, _ASK, _COLON, _LAYER, _FOUND, _STOP, _ZERO = range(7)


@dataclass(frozen=True)
class ShortestPath(Task):
    """`length` is the number of nodes, labelled from 0; 6 to `most`.

    Smaller graphs are too few: holding some out would change the distribution of the answers.
    """

    extra: Annotated[float, "edges beyond a tree, as a fraction of the nodes but two, 0 to 1"] = 0.5
    most: Annotated[int, "labels in the vocabulary, the most nodes of a graph, 6 to 128"] = 64
    split: Annotated[str, "rows to draw: train, or test for held-out inputs"] = "train"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.extra <= 1:
            raise refuse("extra", self.extra, "a fraction from 0 to 1")
        if not 6 <= self.most <= 128:
            raise refuse("most", self.most, "from 6 to 128 nodes")

    @property
    def words(self) -> tuple[str, ...]:
        return (*_MARKS.split(), *map(str, range(self.most)))

    @property
    def stop(self) -> tuple[int, ...]:
        return (_STOP,)

    def chance(self, length: int) -> float:
        """A pair of nodes that are adjacent."""
        return 2 * self._edges(length) / (length * (length - 1)) ** 2

    def unit(self, prompt: Sequence[int], hidden: Sequence[int]) -> Hashable:
        """The graph and the two nodes, in any order."""
        return frozenset(_pairs(prompt)), frozenset(prompt[-3:-1])

    def sample(self, rng: np.random.Generator, n: int, length: int) -> Batch:
        if not 6 <= length <= self.most:
            raise refuse("length", length, f"a number of nodes from 6 to most = {self.most}")
        low, high = attached(rng, n, length, self._edges(length))
        m, pairs, row = low.shape[1], np.stack(np.triu_indices(length, 1), 1), np.arange(n)
        codes = np.zeros((length, length), np.uint64)
        codes[pairs[:, 0], pairs[:, 1]] = fingerprint(pairs)
        graph = codes[low, high].sum(1)[:, None]  # the same in every order of the edges
        held = max(1, len(pairs) // 16)
        pair = pairs[draw_digit(rng, graph, len(pairs), held, self.split == "test")]
        coin = rng.integers(0, 2, n)
        source, target = pair[row, coin], pair[row, 1 - coin]

        prompt = np.empty((n, 3 * m + 4), np.int64)
        prompt[:, 0 : 3 * m : 3], prompt[:, 2 : 3 * m : 3] = low + _ZERO, high + _ZERO
        prompt[:, -3], prompt[:, -2] = source + _ZERO, target + _ZERO
        prompt[:, 1 : 3 * m : 3], prompt[:, -4], prompt[:, -1] = _EDGE, _ASK, _COLON
        near = neighbours(low, high, length)
        away = distances(near, source, target)
        last = away[source, row][:, None]  # the layer of the source
        layer, node = layers(away, int(last.max()))
        mark = np.where(layer == last, _FOUND, _LAYER)
        thought = np.where(node == length, mark, node + _ZERO)
        steps = np.arange(last.max() + 1)
        path = paths(near, away, source, len(steps)) + _ZERO
        tokens = np.concatenate([prompt, thought, path, np.full((n, 1), _STOP)], 1)
        roles = np.full(tokens.shape, Role.ANSWER, np.uint8)
        p, q = prompt.shape[1], prompt.shape[1] + thought.shape[1]
        roles[:, :p], roles[:, p:q] = Role.PROMPT, (layer <= last) * np.uint8(Role.THOUGHT)
        roles[:, q:-1] *= steps <= last
        return left_align(tokens, roles)

    def solve(
        self, prompt: Sequence[int], hidden: Sequence[int] = ()
    ) -> tuple[list[int], list[int]]:
        near = self._checked(prompt)
        source, target = prompt[-3], prompt[-2]
        search, away = [[target]], {target: 0}
        while search[-1]:
            layer = sorted({v for u in search[-1] for v in near[u] if v not in away})
            away |= dict.fromkeys(layer, len(search))
            search.append(layer)
        if len(away) < len(near):
            raise refuse("prompt", list(prompt), "a connected graph")
        thought = [token for layer in search[1 : away[source] + 1] for token in (*layer, _LAYER)]
        path = [source]
        while path[-1] != target:
            path.append(min(v for v in near[path[-1]] if away[v] == away[path[-1]] - 1))
        return [*thought[:-1], _FOUND], [*path, _STOP]

    def noise_groups(self, length: int) -> tuple[Sequence[int], ...]:
        return (range(_ZERO, _ZERO + length),)

    def _edges(self, length: int) -> int:
        """The number of edges of a graph."""
        return length - 1 + int(self.extra * (length - 2))

    def _checked(self, prompt: Sequence[int]) -> dict[int, set[int]]:
        """The neighbours of every node of a prompt; ValueError if it is malformed."""
        edges, near = _pairs(prompt), dict[int, set[int]]()
        for u, v in edges:
            near.setdefault(u, set()).add(v)
            near.setdefault(v, set()).add(u)
        length, asked = len(near), list(prompt[-3:-1])
        text = [token for u, v in edges for token in (u, _EDGE, v)]
        if (
            list(prompt) != [*text, _ASK, *asked, _COLON]
            or set(near) != set(range(_ZERO, _ZERO + length))
            or not all(u < v for u, v in edges)
            or not len(set(edges)) == len(edges) == self._edges(length)
            or len(set(asked) & set(near)) != 2
        ):
            allowed = "different edges of nodes from 0, the smaller one first, ? two nodes :"
            raise refuse("prompt", list(prompt), allowed)
        return near


def _pairs(prompt: Sequence[int]) -> list[tuple[int, int]]:
    """The edges of a prompt."""
    return list(zip(prompt[:-4:3], prompt[2:-4:3], strict=True))
