"""Disjoint sets against counts of what is printed, and its split by listing all rows."""

from __future__ import annotations

from collections import Counter
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.testing import options, seeds
from tasks import Batch
from tasks.disjoint_sets import DisjointSets
from tests.tasks.common import check, drawn, printed, refuses


def rows(task: DisjointSets, n: int, length: int, seed: int = 1) -> Batch:
    return task.sample(np.random.default_rng(seed), n, length)


def tokens(task: DisjointSets, text: str) -> list[int]:
    return [task.words.index(word) for word in text.split()]


def test_worked_row() -> None:
    task = DisjointSets(short=2)
    *prompt, answer = [
        task.words.index(word) for word in ["{", "17", "5", "|", "9", "5", "40", "3", "}", "5"]
    ]
    assert task.solve(prompt) == ([], [answer])


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("first", ["either", "short", "long"])
def test_the_answer_is_the_word_that_is_printed_twice(first: str, split: str) -> None:
    """10,000 rows in all: one word is twice in the prompt, once before the bar and once after."""
    task = DisjointSets(short=3, first=first, elements=50, split=split)  # type: ignore[arg-type]
    short_first = 0
    for row in printed(task, rows(task, 1700, 7)):
        *prompt, answer = row
        one, other = (part.split() for part in " ".join(prompt).strip("{ }").split(" | "))
        assert [word for word, times in Counter(prompt).items() if times > 1] == [answer]
        assert answer in one and answer in other and len(one) + len(other) == 10
        assert len(one) in (3, 7) and prompt[0] + prompt[-1] == "{}"
        short_first += len(one) == 3
    assert short_first == {"short": 1700, "long": 0}.get(first, short_first)
    assert first != "either" or 750 < short_first < 950


def test_places_and_elements_are_uniform() -> None:
    """The answer has any place of both sets, and every element is the answer."""
    task = DisjointSets(short=3, first="short", elements=20)
    drawn_rows = rows(task, 20_000, 5).tokens
    hit = drawn_rows[:, :-1] == drawn_rows[:, -1:]
    np.testing.assert_allclose(hit[:, 1:4].mean(0), 1 / 3, atol=0.017)
    np.testing.assert_allclose(hit[:, 5:10].mean(0), 1 / 5, atol=0.015)
    for column in (*range(1, 4), *range(5, 10), 11):
        share = np.bincount(drawn_rows[:, column] - 3, minlength=20) / 20_000
        np.testing.assert_allclose(share, 1 / 20, atol=0.008)


def test_splits_divide_all_rows() -> None:
    """By listing the rows of 1 and 2 of 5 elements in both orders; one choice of four is held."""
    found = {}
    for split in ("train", "test"):
        sets = rows(DisjointSets(1, elements=5, split=split), 6000, 2).tokens[:, 1:-2]
        found[split] = set(map(tuple, sets.tolist()))
    every = set()
    for a, b in permutations(range(3, 8), 2):
        for pair in ((a, b), (b, a)):
            every |= {(a, 1, *pair), (*pair, 1, a)}
    assert found["train"] | found["test"] == every and not found["train"] & found["test"]
    assert len(found["test"]) * 4 == len(every)


@given(task=options(DisjointSets), length=st.integers(1, 30), seed=seeds)
def test_answers_depend_on_both_appearances(task: DisjointSets, length: int, seed: int) -> None:
    batch = drawn(task, seed, length)
    depends = task.dependencies(batch, length)
    for row, (*prompt, answer) in enumerate(batch.tokens.tolist()):
        at = [t for t, token in enumerate(prompt) if token == answer]
        assert np.argwhere(depends[row]).tolist() == [[len(prompt) - 1, t] for t in at]
        assert len(at) == 2


MALFORMED = """{ 9 5 40 | 17 5 }
{ 17 5 | 9 5 }
{ 17 5 | 9 6 40 }
{ 17 5 | 5 17 40 }
{ 5 5 | 9 5 40 }
{ 17 5 | 9 9 5 }
{ 17 5 9 5 40 }
| 17 5 | 9 5 40 }
{ 17 5 | 9 5 40
{ 17 { | 9 { 40 }"""


def test_malformed_prompts_are_refused() -> None:
    task = DisjointSets(short=2, first="short")
    assert task.solve(tokens(task, "{ 17 5 | 9 5 40 }")) == ([], tokens(task, "5"))
    for line in MALFORMED.splitlines():
        with pytest.raises(ValueError):
            task.solve(tokens(task, line))


@pytest.mark.parametrize(
    ("settings", "length", "named"),
    [
        ({"short": 0}, 5, "short = 0"),
        ({"short": 1025}, 5, "short = 1025"),
        ({"first": "longest"}, 5, "first = 'longest'"),
        ({"elements": 8}, 5, "elements = 8 .* from 9"),
        ({"elements": 65_001}, 5, "elements = 65001"),
        ({"elements": 12}, 9, "length = 9 .* at most elements - short = 8"),
        ({}, 4, "length = 4 .* above short = 4"),
        ({"split": "seen"}, 8, "split = 'seen'"),
    ],
)
def test_refusals_name_the_option(settings: dict[str, object], length: int, named: str) -> None:
    refuses(DisjointSets, settings, length, named)


@pytest.mark.parametrize("task", [DisjointSets(1, "long", 9, "test")])
def test_contract(task: DisjointSets) -> None:
    check(task)
