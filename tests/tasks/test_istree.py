"""Is-it-a-tree: rows and thoughts against networkx, a recursive search and a reader of texts."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tasks.istree
from lab.data.rows import Rows
from lab.testing import first_error, options, seeds, valid_lengths
from tasks import Role
from tasks.istree import IsTree
from tests.tasks.common import many
from tests.tasks.graphs import (
    GRAPHS,
    Reader,
    graph_of,
    recursive_tour,
    retrieval_is_right,
    texts,
    tour_is_right,
)


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


def test_random_replies_tell_nothing() -> None:
    """They replace the tokens of the tool alone, and are right as often as any other."""
    true = Rows(IsTree(trace="retrieval"), 8, 9)[0:400]
    task = IsTree(trace="retrieval", replies="random")
    false = Rows(task, 8, 9)[0:400]
    np.testing.assert_array_equal(true.roles, false.roles)
    tool = true.roles == Role.TOOL
    np.testing.assert_array_equal(true.tokens[~tool], false.tokens[~tool])
    replies = Counter(task.words[t] for t in false.tokens[tool])
    assert set(replies) == {"[FAILED]", *"01234567"}
    m = int(tool.sum())
    agree = int((true.tokens[tool] == false.tokens[tool]).sum())
    for count in (agree, *replies.values()):
        assert abs(count - m / 9) < 4 * (m * 8 / 81) ** 0.5
    assert all(first_error(task, false, i) is None for i in range(50))


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
        ({"replies": "no"}, "replies = 'no' cannot be used: it is true or random"),
        ({"replies": "random"}, "replies = 'random' cannot be used: it must be true: trace tour"),
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
