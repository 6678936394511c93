"""Oracles of istree: printed rows, networkx, a recursive search, a reader of retrieval texts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

import networkx as nx

from tasks import Batch, Role
from tasks.istree import IsTree

Edges = list[tuple[int, int]]
GRAPHS = ("two-hub", "random")


def texts(task: IsTree, batch: Batch) -> Iterator[tuple[Edges, list[str], str]]:
    """Each row as edges, thought and answer, read from its words with the layout checked."""
    names, pad = task.words, int(Role.PAD)
    for tokens, roles in zip(batch.tokens.tolist(), batch.roles.tolist(), strict=True):
        words = [names[t] for t, r in zip(tokens, roles, strict=True) if r != pad]
        p = words.index("[EOS]") + 1
        assert words[0] == "[BOS]" and set(roles[:p]) == {Role.PROMPT}
        assert Role.PROMPT not in roles[p:] and roles[len(words) - 1] == Role.ANSWER
        marks, hi, lo = words[2 : p - 1 : 3], words[1 : p - 1 : 3], words[3 : p - 1 : 3]
        assert set(marks) == {"-"}
        yield list(zip(map(int, hi), map(int, lo), strict=True)), words[p:-1], words[-1]


def neighbours(edges: Edges) -> dict[int, list[int]]:
    near: dict[int, list[int]] = {}
    for a, b in edges:
        near.setdefault(a, []).append(b)
        near.setdefault(b, []).append(a)
    return near


class Cycle(Exception):
    pass


def recursive_tour(edges: Edges) -> tuple[list[int], bool]:
    """The Euler tour from node 0 and whether it went to its end, by plain recursion."""
    near, seen, tour = neighbours(edges), set(), []

    def visit(v: int, parent: int | None) -> None:
        seen.add(v)
        tour.append(v)
        for u in near.get(v, []):
            if u == parent:
                continue
            if u in seen:
                raise Cycle
            visit(u, v)
            tour.append(v)

    try:
        visit(0, None)
    except Cycle:
        return tour, False
    return tour, True


def tour_is_right(edges: Edges, thought: list[str], answer: str) -> bool:
    """Whether a tour follows from the edges, move by move: each token against those before it."""
    near = neighbours(edges)
    if thought[:1] != ["0"]:
        return False
    path, seen, tried = [0], {0}, Counter[int]()
    for place, word in enumerate(thought[1:], 2):
        v = path[-1]
        parent = path[-2] if len(path) > 1 else None
        rest = [u for u in near.get(v, [])[tried[v] :] if u != parent]
        if (rest and rest[0] in seen) or (not rest and parent is None):
            tree = not rest and len(seen) == len(edges) + 1
            ends = word == "[EOS]" and place == len(thought)
            return ends and answer == ("[TRUE]" if tree else "[FALSE]")
        if rest:
            tried[v] = near[v].index(rest[0]) + 1
            path.append(rest[0])
            seen.add(rest[0])
        else:
            path.pop()
        if word != str(path[-1]):
            return False
    return False


class Reader:
    """Reads a retrieval text from left to right and answers its queries from the edge list."""

    def __init__(self, edges: Edges, thought: list[str]) -> None:
        self.near, self.words, self.at = neighbours(edges), thought, 0
        self.nodes = len(edges) + 1

    def read(self, *expected: int | str) -> None:
        for word in map(str, expected):
            if self.at >= len(self.words) or self.words[self.at] != word:
                raise ValueError(f"token {self.at} should be {word}")
            self.at += 1

    def search(self, query: list[int | str], neighbour: int | None) -> int | None:
        result = "[FAILED]" if neighbour is None else neighbour
        self.read("[STARTSEARCH]", *query, "[ENDSEARCH]", result)
        return neighbour

    def next(self, v: int, past: int | None) -> int | None:
        near = self.near.get(v, [])
        place = 0 if past is None else near.index(past) + 1
        query: list[int | str] = [v, "-"] if past is None else [v, "-", past]
        return self.search(query, near[place] if place < len(near) else None)

    def whole(self) -> bool:
        """Whether the graph is a tree; ValueError where the text is not the right one."""
        noted: dict[int, int] = {}
        seen, v, child = {0}, 0, None
        while True:
            self.read(v)
            father = self.search([v, "~"], noted.get(v))
            u = self.next(v, child)
            if u is not None and u == father:
                u = self.next(v, u)
            if u is None:
                if father is None:
                    break
                v, child = father, v
                continue
            self.search([u, "~"], noted.get(u))
            if u in seen:
                return self.end(False)
            self.read(u, "~", v)
            noted[u] = v
            seen.add(u)
            v, child = u, None
        return self.end(len(seen) == self.nodes)

    def end(self, tree: bool) -> bool:
        self.read("[EOS]")
        if self.at != len(self.words):
            raise ValueError("text after the end")
        return tree


def retrieval_is_right(edges: Edges, thought: list[str], answer: str) -> bool:
    try:
        tree = Reader(edges, thought).whole()
    except ValueError:
        return False
    return answer == ("[TRUE]" if tree else "[FALSE]")


def fits(counts: Counter, shares: dict) -> bool:
    """Whether counts follow shares (of any sum): chi-square within 5 of its standard deviations."""
    assert set(counts) <= set(shares), "something has a count and no share"
    n, total = counts.total(), sum(shares.values())
    chi2 = sum((counts[k] - n * w / total) ** 2 / (n * w / total) for k, w in shares.items())
    return chi2 < len(shares) - 1 + 5 * math.sqrt(2 * (len(shares) - 1))


def graph_of(edges: Edges) -> nx.Graph:
    graph = nx.Graph(edges)
    graph.add_nodes_from(range(len(edges) + 1))
    return graph
