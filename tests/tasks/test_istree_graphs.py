"""Is-it-a-tree: which graphs are drawn, how often, and in which split; by enumeration."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import networkx as nx
import numpy as np
import pytest

from lab.data.rows import Rows
from tasks._split import fingerprint, held_out
from tasks.istree import IsTree
from tests.tasks.graphs import (
    GRAPHS,
    Edges,
    fits,
    graph_of,
    texts,
)


@pytest.mark.parametrize("length", [4, 5, 6, 16, 33])
def test_two_hubs(length: int) -> None:
    """Every row is two stars and a link between two of their leaves."""
    for edges, _, _ in texts(IsTree(), Rows(IsTree(), length, 8)[0:300]):
        assert _links(edges), edges


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("length", [4, 5, 16, 17, 32])
def test_half_are_trees(graph: str, split: str, length: int) -> None:
    task, n = IsTree(graph, split=split), 10_000  # type: ignore[arg-type]
    batch = Rows(task, length, 8)[0:n].without_thoughts()
    trees = int((batch.tokens[:, -1] == task.words.index("[TRUE]")).sum())
    assert abs(trees - n / 2) < 4 * math.sqrt(n / 4)


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("length", [4, 5])
def test_edges_come_in_any_order(graph: str, length: int) -> None:
    """All orders of the edges of a graph are equally frequent, whatever the graph."""
    task, orders = IsTree(graph), Counter[tuple[int, ...]]()  # type: ignore[arg-type]
    for edges, _, _ in texts(task, Rows(task, length, 15)[0:6000].without_thoughts()):
        degree = Counter(itertools.chain(*edges))
        by_degree = sorted(
            range(length - 1), key=lambda i: (sorted(degree[v] for v in edges[i]), edges[i])
        )
        orders[tuple(by_degree)] += 1
    assert fits(orders, dict.fromkeys(itertools.permutations(range(length - 1)), 1))


def _links(edges: Edges) -> list[tuple[int, int]]:
    """Edges whose removal leaves two stars with both their ends among the leaves."""
    links = []
    for a, b in edges:
        graph = graph_of(edges)
        graph.remove_edge(a, b)
        parts = list(nx.connected_components(graph))
        for x, y in itertools.product(*parts) if len(parts) == 2 else []:
            star = graph.degree(x) == len(parts[0]) - 1 and graph.degree(y) == len(parts[1]) - 1
            if star and not {x, y} & {a, b}:
                links.append((a, b))
    return links


@pytest.mark.parametrize("length", [4, 5, 9, 30])
def test_random_graphs(length: int) -> None:
    """Trees of every shape; else one node alone and one cycle of any length in the rest."""
    task = IsTree("random")
    cycles, shapes = set(), set()
    for edges, _, answer in texts(task, Rows(task, length, 9)[0:2000]):
        graph = graph_of(edges)
        shapes.add(tuple(sorted(d for _, d in graph.degree())))
        if answer == "[TRUE]":
            assert nx.is_tree(graph)
            continue
        alone = list(nx.isolates(graph))
        assert len(alone) == 1 and nx.number_connected_components(graph) == 2
        cycles.add(len(nx.cycle_basis(graph)[0]))
        assert len(nx.cycle_basis(graph)) == 1
    assert cycles >= set(range(3, min(length, 8)))
    assert len(shapes) >= {4: 3, 5: 5}.get(length, 25)  # 4 nodes: path, star, triangle; 5: 3 + 2


def test_random_edge_is_uniform() -> None:
    """The edge too many joins every pair that the tree leaves free equally often (4 nodes + 1)."""
    task, n = IsTree("random"), 20_000
    kinds = Counter[int]()
    for edges, _, answer in texts(task, Rows(task, 5, 10)[0:n]):
        if answer == "[FALSE]":
            kinds[len(nx.cycle_basis(graph_of(edges))[0])] += 1
    # Recursive trees on 4 nodes: 2 of 6 are stars, 4 are paths. A star closes to a triangle with a
    # tail; of the three free pairs of a path one makes a square.
    total = sum(kinds.values())
    share = 4 / 6 / 3
    assert abs(kinds[4] - share * total) < 4 * math.sqrt(share * (1 - share) * total)


def unshift(edges: Edges) -> tuple[int, int, list[tuple[int, int]]]:
    """Size of the free digit, the digit, and the edges shifted back by it: in whole numbers."""
    n = len(edges) + 1
    size = n if n % 2 else n // 2
    total = sum(a + b for a, b in edges) % n
    for z in range(size):
        back = [((a - z) % n, (b - z) % n) for a, b in edges]
        if sum(a + b for a, b in back) % n in ((0,) if n % 2 else (0, n - 1)):
            return size, z, back
    raise AssertionError(f"no shift of {edges} has sum 0, this one has {total}")


def is_held_out(edges: Edges) -> bool:
    size, z, back = unshift(edges)
    key = fingerprint(np.arange(len(edges) + 1)[:, None]).tolist()
    rest = sum(key[a] * key[b] for a, b in back) % 2**64
    held = max(1, size // 16)
    return bool(held_out(np.array([z]), np.array([[rest]], np.uint64), size, held)[0])


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("length", [4, 5, 8, 16, 17, 48])
def test_membership_is_a_function_of_the_graph(graph: str, length: int) -> None:
    for split in ("train", "test"):
        task = IsTree(graph, split=split)  # type: ignore[arg-type]
        for edges, _, _ in texts(task, Rows(task, length, 11)[0:300]):
            assert is_held_out(edges) == (split == "test")
            assert is_held_out([(b, a) for a, b in sorted(edges)]) == (split == "test")


def hub_graphs(n: int) -> Counter[frozenset[frozenset[int]]]:
    """Every two-hub graph of n labelled nodes and the number of draws that make it."""
    draws: Counter[frozenset[frozenset[int]]] = Counter()
    for order in itertools.permutations(range(n)):
        for side in itertools.product((0, 1), repeat=n - 2):
            edges = [frozenset((order[s], order[i + 2])) for i, s in enumerate(side)]
            draws[frozenset([*edges, frozenset(order[2:4])])] += 1
    return draws


@pytest.mark.parametrize(("n", "rows"), [(4, 2000), (5, 6000), (6, 30_000)])
def test_splits_by_enumeration(n: int, rows: int) -> None:
    """Train and test share no graph and have them all; in both exactly half the draws are trees."""
    weights = hub_graphs(n)
    size = n if n % 2 else n // 2
    held = {g: is_held_out([tuple(e) for e in g]) for g in weights}  # type: ignore[misc]
    for part, share in ((True, 1), (False, size - 1)):
        by_answer = Counter[bool]()
        for g, weight in weights.items():
            if held[g] == part:
                by_answer[nx.is_tree(graph_of([tuple(e) for e in g]))] += weight  # type: ignore[misc]
        assert by_answer[True] == by_answer[False]
        assert by_answer.total() * size == share * weights.total()
    for split in ("train", "test"):
        task = IsTree(split=split)
        batch = Rows(task, n, 12)[0:rows].without_thoughts()
        drawn = Counter(frozenset(map(frozenset, edges)) for edges, _, _ in texts(task, batch))
        part_weights = {g: w for g, w in weights.items() if held[g] == (split == "test")}
        assert set(drawn) == set(part_weights)
        assert fits(drawn, part_weights)


def test_unit_is_the_graph() -> None:
    task = IsTree()
    prompt = Rows(task, 8, 13)[0:1].tokens[0, :23].tolist()
    edges = [prompt[i : i + 3] for i in range(1, 22, 3)]
    shuffled = [prompt[0], *itertools.chain(*edges[::-1]), prompt[-1]]
    assert task.unit(prompt, ()) == task.unit(shuffled, ()) and shuffled != prompt
    other = Rows(task, 8, 13)[1:2].tokens[0, :23].tolist()
    assert task.unit(prompt, ()) != task.unit(other, ())


def test_hub_sizes_tell_what_the_docstring_says() -> None:
    """The best guess from the sizes of both hubs, by formula and on rows: a little over chance."""
    for n, stated in ((16, 0.536), (32, 0.517)):
        m = n - 2
        tree = [2 * k * (m - k) / (m * (m - 1)) for k in range(m + 1)]
        best = sum(math.comb(m, k) / 2**m * max(tree[k], 1 - tree[k]) for k in range(m + 1))
        assert abs(best - stated) < 6e-4 and abs(best - (0.5 + 0.48 / (n - 3))) < 1e-3
        single = 0.5 + 2 / n * (best - 0.5)
        assert abs(single - (0.5 + 1 / n / (n - 3))) < 4e-4
    right, rows, sizes, task = 0, 12_000, Counter[int](), IsTree()
    for edges, _, answer in texts(task, Rows(task, 16, 14)[0:rows].without_thoughts()):
        k = max(Counter(itertools.chain(*edges)).values())  # of 14 leaves, the larger hub's
        right += (answer == "[TRUE]") == (2 * k * (14 - k) > 7 * 13)
        sizes[k] += 1
    assert abs(right / rows - 0.536) < 4 * math.sqrt(0.25 / rows)
    assert fits(sizes, {k: math.comb(14, k) * (1 + (k > 7)) for k in range(7, 15)})
