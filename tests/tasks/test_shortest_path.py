"""Shortest paths against a walk through all paths by length, and layers as sets of bits."""

from __future__ import annotations

from collections import Counter, deque

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.testing import first_error, options, seeds
from tasks import Batch, Role
from tasks.shortest_path import ShortestPath
from tests.tasks.common import check, drawn, many, printed, refuses

ROW = "3 - 4 3 - 5 1 - 4 0 - 3 0 - 1 4 - 5 0 - 2 ? 2 4 : 1 3 5 | 0 | 2 > 2 0 1 4 ."


def rows(task: ShortestPath, n: int, length: int, seed: int = 1) -> Batch:
    return task.sample(np.random.default_rng(seed), n, length)


def first_path(near: dict[int, list[int]], source: int, target: int) -> list[int]:
    """The first path in a queue of all paths, by length, then in the order of a dictionary."""
    queue, seen = deque([[source]]), {source}
    while True:
        path = queue.popleft()
        if path[-1] == target:
            return path
        for node in sorted(near[path[-1]]):
            if node not in seen:
                seen.add(node)
                queue.append([*path, node])


def written(edges: list[tuple[int, int]], source: int, target: int) -> str:
    """What follows the prompt, from bit sets of nodes that are reached within 1, 2, ... steps."""
    near: dict[int, list[int]] = {}
    for u, v in edges:
        near.setdefault(u, []).append(v)
        near.setdefault(v, []).append(u)
    reached, layers = 1 << target, []
    while not reached >> source & 1:
        grown = reached
        for u, v in edges:
            grown |= (reached >> u & 1) << v | (reached >> v & 1) << u
        layers.append(" ".join(str(v) for v in sorted(near) if (grown & ~reached) >> v & 1))
        reached = grown
    path = " ".join(map(str, first_path(near, source, target)))
    return f"{' | '.join(layers)} > {path} ."


def read(row: str) -> tuple[list[tuple[int, int]], int, int, str]:
    """Edges, source, target and the rest of a printed row."""
    prompt, rest = row.split(" : ")
    text, asked = prompt.split(" ? ")
    words = text.split()
    edges = [(int(u), int(v)) for u, v in zip(words[::3], words[2::3], strict=True)]
    assert words[1::3] == ["-"] * len(edges)
    source, target = map(int, asked.split())
    return edges, source, target, rest


def test_worked_row() -> None:
    task = ShortestPath()
    prompt, rest = ROW.split(" : ")
    tokens = [task.words.index(word) for word in f"{prompt} :".split()]
    thought, answer = task.solve(tokens)
    assert " ".join(task.words[t] for t in thought + answer) == rest == written(*read(ROW)[:3])


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize(("extra", "length"), [(0.5, 6), (0.5, 12), (0.0, 15), (1.0, 20), (0.3, 9)])
def test_two_other_algorithms_agree(extra: float, length: int, split: str) -> None:
    """10,000 rows under `nightly`: connected graphs with the right number of different edges."""
    task = ShortestPath(extra=extra, split=split)
    for row in printed(task, rows(task, many(1000), length)):
        edges, source, target, rest = read(" ".join(row))
        assert rest == written(edges, source, target) and source != target
        assert len(set(edges)) == len(edges) == length - 1 + int(extra * (length - 2))
        assert all(u < v for u, v in edges) and {v for e in edges for v in e} == set(range(length))


def test_graphs_are_attached_as_described() -> None:
    """Recursive trees of 6 nodes: every node but the root is a leaf with a mean of 6/2, and the
    root is one if nodes 2 to 5 avoid it, 1/2 * 2/3 * 3/4 * 4/5. All extra edges leave no leaf."""
    leaves = []
    for extra in (0.0, 1.0):
        task = ShortestPath(extra=extra)
        degrees = [
            Counter(v for e in read(" ".join(row))[0] for v in e)
            for row in printed(task, rows(task, 1500, 6))
        ]
        leaves.append(np.mean([list(d.values()).count(1) for d in degrees]))
    assert leaves[0] == pytest.approx(3.2, abs=0.08) and leaves[1] == 0


@pytest.mark.parametrize("split", ["train", "test"])
def test_questions_have_the_same_distribution_in_both_splits(split: str) -> None:
    """Labels, sources and targets are uniform; the most common answer is as common as stated."""
    task = ShortestPath(extra=0.5, split=split)
    batch = rows(task, 20_000, 8)
    asked = batch.tokens[
        np.arange(20_000)[:, None], (batch.tokens == 2).argmax(1)[:, None] - [2, 1]
    ]
    for column in asked.T:
        np.testing.assert_allclose(np.bincount(column - 6) / 20_000, 1 / 8, atol=0.012)
    answers = Counter(
        tuple(tokens[roles == Role.ANSWER].tolist())
        for tokens, roles in zip(batch.tokens, batch.roles, strict=True)
    )
    assert max(map(len, answers)) > 5
    common = [count for answer, count in answers.items() if len(answer) == 3]
    assert len(common) == 56 and max(answers.values()) == max(common)
    assert sum(common) / 20_000 / 56 == pytest.approx(task.chance(8), rel=0.05)


def test_no_pair_of_a_graph_is_in_both_splits() -> None:
    """Trees of 6 nodes: about 1 in 15 of the 19,440 questions is held out, in any order."""
    found = {}
    for split in ("train", "test"):
        task = ShortestPath(extra=0.0, split=split)
        prompts = rows(task, 30_000, 6).tokens[:, :19].tolist()
        assert {prompt[-1] for prompt in prompts} == {task.words.index(":")}
        found[split] = {task.unit(prompt, ()) for prompt in prompts}
    assert not found["train"] & found["test"]
    assert len(found["test"]) == 1296 and len(found["train"]) > 0.7 * 14 * 1296


@given(task=options(ShortestPath), length=st.integers(6, 40), seed=seeds)
def test_options_combine(task: ShortestPath, length: int, seed: int) -> None:
    batch = drawn(task, seed, length)
    assert [first_error(task, batch, row) for row in range(2)] == [None, None]


MALFORMED = """4 - 3 3 - 5 1 - 4 0 - 3 0 - 1 4 - 5 0 - 2 ? 2 4 :
3 - 4 3 - 5 1 - 4 0 - 3 0 - 1 4 - 5 0 - 2 ? 2 2 :
3 - 4 3 - 5 1 - 4 0 - 3 0 - 1 4 - 5 0 - 2 ? 2 9 :
3 - 4 3 - 5 1 - 4 0 - 3 0 - 1 4 - 5 ? 2 4 :
3 - 4 3 - 5 1 - 4 0 - 3 0 - 1 3 - 4 0 - 2 ? 2 4 :
3 - 4 3 - 5 1 - 4 0 - 3 0 - 1 4 - 6 0 - 2 ? 2 4 :
3 - 4 3 - 5 1 - 4 0 - 3 0 - 0 4 - 5 0 - 2 ? 2 4 :
0 - 1 0 - 2 0 - 3 1 - 2 1 - 3 2 - 3 4 - 5 ? 0 3 :
3 - 4 3 - 5 1 - 4 0 - 3 0 - 1 4 - 5 0 - 2 ? 2 4
3 - 4 3 - 5 1 - 4 0 - 3 0 - 1 4 - 5 0 - 2 | 2 4 :"""


@pytest.mark.parametrize("line", MALFORMED.splitlines())
def test_malformed_prompts_are_refused(line: str) -> None:
    """A larger node first, an equal or unknown node, an edge too few, twice, to no node or a loop,
    two components, a missing or a wrong mark."""
    task = ShortestPath()
    with pytest.raises(ValueError):
        task.solve([task.words.index(word) for word in line.split()])


@pytest.mark.parametrize(
    ("settings", "length", "named"),
    [
        ({"extra": -0.1}, 8, "extra = -0.1"),
        ({"extra": float("nan")}, 8, "extra = nan"),
        ({"most": 5}, 8, "most = 5"),
        ({"most": 129}, 8, "most = 129"),
        ({}, 5, "length = 5"),
        ({"most": 10}, 11, "length = 11 .* from 6 to most = 10"),
        ({"split": "seen"}, 8, "split = 'seen'"),
    ],
)
def test_refusals_name_the_option(settings: dict[str, object], length: int, named: str) -> None:
    refuses(ShortestPath, settings, length, named)


@pytest.mark.parametrize("task", [ShortestPath(extra=1.0, most=9, split="test")])
def test_contract(task: ShortestPath) -> None:
    check(task)
