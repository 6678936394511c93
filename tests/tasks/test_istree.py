"""Is-it-a-tree: networkx and a recursive search as oracles, a reader of retrieval texts, splits."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections import Counter
from collections.abc import Iterator

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tasks.istree
from lab.data import Rows
from lab.testing import first_error, options, seeds, valid_lengths
from tasks import Batch, Role
from tasks._split import fingerprint, held_out
from tasks.istree import IsTree
from tests.tasks.common import many

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


def row(task: IsTree, prompt: str) -> str:
    ids = {word: i for i, word in enumerate(task.words)}
    thought, answer = task.solve([ids[w] for w in prompt.split()])
    return " ".join(task.words[t] for t in [*thought, *answer])


def test_worked_row() -> None:
    doc = " ".join((tasks.istree.__doc__ or "").split())
    prompt, thought, answer = (
        "[BOS] 5 - 1 4 - 0 4 - 2 5 - 3 2 - 1 [EOS]",
        "0 4 2 1 5 3 5 1 2 4 0 [EOS]",
        "[TRUE]",
    )
    assert f"{prompt} | {thought} | {answer}" in doc
    assert row(IsTree(), prompt) == f"{thought} {answer}"


def test_figure_of_the_paper() -> None:
    figure = "2~6 1~5 3~5 4~6 2~3"  # its nodes count from 1
    edges = [sorted(int(v) - 1 for v in edge.split("~"))[::-1] for edge in figure.split()]
    prompt = "[BOS] " + " ".join(f"{a} - {b}" for a, b in edges) + " [EOS]"
    tour = " ".join(str(v - 1) for v in (1, 5, 3, 2, 6, 4, 6, 2, 3, 5, 1))
    assert row(IsTree(), prompt) == f"{tour} [EOS] [TRUE]"


def test_rows_by_hand() -> None:
    triangle = "[BOS] 2 - 1 1 - 0 2 - 0 [EOS]"
    assert row(IsTree(), triangle) == "0 1 2 [EOS] [FALSE]"
    by_hand = """
        0 [STARTSEARCH] 0 ~ [ENDSEARCH] [FAILED] [STARTSEARCH] 0 - [ENDSEARCH] 1
          [STARTSEARCH] 1 ~ [ENDSEARCH] [FAILED] 1 ~ 0
        1 [STARTSEARCH] 1 ~ [ENDSEARCH] 0 [STARTSEARCH] 1 - [ENDSEARCH] 2
          [STARTSEARCH] 2 ~ [ENDSEARCH] [FAILED] 2 ~ 1
        2 [STARTSEARCH] 2 ~ [ENDSEARCH] 1 [STARTSEARCH] 2 - [ENDSEARCH] 1
          [STARTSEARCH] 2 - 1 [ENDSEARCH] 0 [STARTSEARCH] 0 ~ [ENDSEARCH] [FAILED] [EOS] [FALSE]
    """
    assert row(IsTree(trace="retrieval"), triangle).split() == by_hand.split()
    assert row(IsTree(trace="retrieval"), "[BOS] 2 - 1 3 - 2 3 - 1 [EOS]") == (
        "0 [STARTSEARCH] 0 ~ [ENDSEARCH] [FAILED] [STARTSEARCH] 0 - [ENDSEARCH] [FAILED]"
        " [EOS] [FALSE]"
    )
    assert "[STARTSEARCH] 1 - 0 [ENDSEARCH] 2" in row(
        IsTree(trace="retrieval"), "[BOS] 1 - 0 2 - 1 3 - 2 [EOS]"
    )


@pytest.mark.parametrize("graph", GRAPHS)
def test_oracles_on_many_rows(graph: str) -> None:
    """networkx says whether it is a tree, the recursion which tour it has."""
    task, answers = IsTree(graph, most=130), Counter[str]()  # type: ignore[arg-type]
    for length, n in ((4, 1000), (5, 1000), (7, 2000), (16, 4000), (33, 1700), (130, 300)):
        for edges, thought, answer in texts(task, Rows(task, length, 1)[0 : many(n)]):
            assert len({frozenset(e) for e in edges}) == length - 1
            assert all(length > a > b >= 0 for a, b in edges)
            tour, finished = recursive_tour(edges)
            assert thought == [*map(str, tour), "[EOS]"]
            assert (answer == "[TRUE]") == nx.is_tree(graph_of(edges))
            assert (answer == "[TRUE]") == (finished and len(tour) == 2 * length - 1)
            answers[answer] += 1
    assert set(answers) == {"[TRUE]", "[FALSE]"}


@pytest.mark.parametrize("graph", GRAPHS)
def test_retrieval_texts_replay(graph: str) -> None:
    task = IsTree(graph, "retrieval", most=150)  # type: ignore[arg-type]
    for length, n in ((4, 500), (7, 500), (16, 800), (40, 100), (150, 12)):
        batch = Rows(task, length, 2)[0:n]
        for edges, thought, answer in texts(task, batch):
            assert Reader(edges, thought).whole() == (answer == "[TRUE]")
            assert thought[0] == "0"
        searched = batch.tokens[:, :-1] == task.words.index("[ENDSEARCH]")
        assert ((batch.roles[:, 1:] == Role.TOOL) == searched).all()


@pytest.mark.parametrize("graph", GRAPHS)
def test_traces_are_of_one_search(graph: str) -> None:
    """Both traces of one draw visit the same nodes: the retrieval text opens each visit with v."""
    tour, retrieval = (IsTree(graph, trace) for trace in ("tour", "retrieval"))  # type: ignore[arg-type]
    rows = [Rows(task, 12, 3)[0:300] for task in (tour, retrieval)]
    for (edges, t, a), (same, r, b) in zip(
        texts(tour, rows[0]), texts(retrieval, rows[1]), strict=True
    ):
        assert edges == same and a == b
        opens = [
            i
            for i in range(len(r) - 3)
            if r[i + 1] == "[STARTSEARCH]" and r[i] == r[i + 2] and r[i + 3] == "~"
        ]
        # `v - [ENDSEARCH] u` with a search for u behind it looks alike: there u is the tool's.
        visits = [r[i] for i in opens if i == 0 or r[i - 1] != "[ENDSEARCH]"]
        assert visits == t[:-1]


@pytest.mark.parametrize(
    ("trace", "length", "right"),
    [("tour", 9, tour_is_right), ("retrieval", 5, retrieval_is_right)],
)
@pytest.mark.parametrize("graph", GRAPHS)
def test_every_mutation_is_rejected(graph: str, trace: str, length: int, right) -> None:  # type: ignore[no-untyped-def]
    """At each place of the thought one other token of the vocabulary."""
    task = IsTree(graph, trace, most=length)  # type: ignore[arg-type]
    rng = np.random.default_rng(4)
    words = task.words
    for edges, thought, answer in texts(task, Rows(task, length, 4)[0 : many(1000)]):
        assert right(edges, thought, answer)
        other = "[TRUE]" if answer == "[FALSE]" else "[FALSE]"
        assert not right(edges, thought, other)
        for place, shift in enumerate(rng.integers(1, len(words), len(thought)).tolist()):
            word = words[(words.index(thought[place]) + shift) % len(words)]
            mutant = [*thought[:place], word, *thought[place + 1 :]]
            assert not right(edges, mutant, answer), f"{edges}: {' '.join(mutant)}"


@given(st.data(), options(IsTree), seeds)
def test_solve_over_options(data: st.DataObject, task: IsTree, seed: int) -> None:
    length = data.draw(st.integers(4, min(task.most, 24)))
    batch = task.sample(np.random.default_rng(seed), 4, length)
    assert all(first_error(task, batch, i) is None for i in range(4))


def test_large_graphs() -> None:
    """Beyond 128 nodes the keys of the search need 32 bits."""
    for graph, trace in itertools.product(GRAPHS, ("tour", "retrieval")):
        task = IsTree(graph, trace, most=1024)  # type: ignore[arg-type]
        for length in (128, 129, 257):
            batch = task.sample(np.random.default_rng(5), 2, length)
            assert all(first_error(task, batch, i) is None for i in range(2))


def test_blocks_do_not_matter() -> None:
    """The search runs in blocks of rows; a batch of several blocks is as right as a small one."""
    task = IsTree(trace="retrieval")
    batch = task.sample(np.random.default_rng(6), 2100, 6)
    for i in (*range(0, 2100, 97), 1023, 1024, 2047, 2048, 2099):
        assert first_error(task, batch, i) is None


def test_without_thoughts_is_the_vanilla_row() -> None:
    tour = Rows(IsTree(), 16, 7)[0:50].without_thoughts()
    assert tour.tokens.shape[1] == 3 * 15 + 2 + 1
    for edges, thought, answer in texts(IsTree(), tour):
        assert not thought and (answer == "[TRUE]") == nx.is_tree(graph_of(edges))


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


def test_the_tool_searches_the_text() -> None:
    task = IsTree(trace="retrieval")
    ids = {word: i for i, word in enumerate(task.words)}

    def ask(text: str) -> str | None:
        token = task.tool([ids[w] for w in text.split()])
        return None if token is None else task.words[token]

    prompt = "[BOS] 3 - 1 2 - 1 1 - 0 [EOS] 0"
    assert ask("") is None and ask(prompt) is None and ask(prompt + " [STARTSEARCH] 0 -") is None
    for query, answer in {
        "1 -": "3",
        "1 - 3": "2",
        "1 - 2": "0",
        "1 - 0": "[FAILED]",
        "2 - 3": "[FAILED]",
        "7 -": "[FAILED]",
        "1 ~": "0",
        "0 ~": "[FAILED]",
        "": "[FAILED]",
        "~": "[FAILED]",
        "1": "[FAILED]",
        "1 ~ 0": "[FAILED]",
        "1 - 3 2": "[FAILED]",
        "[EOS] - [EOS]": "[FAILED]",
    }.items():
        row = f"{prompt} [STARTSEARCH] 1 ~ [ENDSEARCH] [FAILED] 1 ~ 0 1 [STARTSEARCH] {query}"
        assert ask(row + " [ENDSEARCH]") == answer, query
    assert ask(prompt + " [ENDSEARCH]") == "[FAILED]"
    assert ask("3 - 1 [STARTSEARCH] 1 - [ENDSEARCH]") == "[FAILED]"
    assert IsTree().tool([ids["[ENDSEARCH]"]]) is None


def test_one_vocabulary_for_all_lengths() -> None:
    task = IsTree()
    assert len(task.words) == 9 + 64 and len(set(task.words)) == len(task.words)
    assert IsTree(most=128).words[: len(task.words)] == task.words
    assert valid_lengths(task) == list(range(4, 41))
    assert [task.words[t] for t in task.stop] == ["[TRUE]", "[FALSE]"]
    assert task.chance(20) == 0.5
    assert task.no_shortcut(16) and not IsTree("random").no_shortcut(16)
    assert not task.no_shortcut(15)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"graph": "ring"}, "graph = 'ring' cannot be used: it is two-hub or random"),
        ({"trace": "none"}, "trace = 'none' cannot be used: it is tour or retrieval"),
        ({"most": 3}, "most = 3 cannot be used: from 4 to 1024 nodes"),
        ({"most": 1025}, "most = 1025 cannot be used"),
        ({"split": "dev"}, "split = 'dev' cannot be used: it is one of train, test"),
    ],
)
def test_bad_options_are_refused(bad: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        dataclasses.replace(IsTree(), **bad)  # type: ignore[arg-type]
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("length", [-1, 0, 3, 65])
@pytest.mark.parametrize("split", ["train", "test"])
def test_bad_lengths_are_refused(length: int, split: str) -> None:
    with pytest.raises(ValueError, match=f"length = {length} cannot be used: .* from 4 to most"):
        IsTree(split=split).sample(np.random.default_rng(0), 2, length)
