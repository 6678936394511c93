"""Sorting against counting, and its split by listing all multisets."""

from __future__ import annotations

from collections import Counter
from itertools import combinations_with_replacement

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.testing import first_error, options, seeds
from tasks import Batch, Role
from tasks.sorting import Sorting
from tests.tasks.common import check, drawn, printed, refuses

ANSWERS = {"ascending": "3 3 17 60", "descending": "60 17 3 3", "shuffled": "17 3 60 3"}


def rows(task: Sorting, n: int, length: int, seed: int = 1) -> Batch:
    return task.sample(np.random.default_rng(seed), n, length)


@pytest.mark.parametrize("order", ANSWERS)
def test_worked_row(order: str) -> None:
    task = Sorting(output_order=order, secret=3 * (order == "shuffled"))  # type: ignore[arg-type]
    prompt = [task.words.index(word) for word in ["17", "3", "60", "3", ">"]]
    assert " ".join(task.words[t] for t in task.solve(prompt)[1]) == ANSWERS[order]


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("order", ANSWERS)
def test_answers_count_like_the_prompt(order: str, split: str) -> None:
    """10,000 rows: a counting sort of the printed numbers, put in the order of the ranks."""
    task = Sorting(values=20, output_order=order, split=split)  # type: ignore[arg-type]
    place = {"ascending": list(range(8)), "descending": list(range(8))[::-1]}.get(order)
    if place is None:
        place = [int(rank) for rank in task.secrets(8)[0].split(": ")[1].split()]
    batch = rows(task, 1700, 8)
    for row in printed(task, batch):
        count = Counter(map(int, row[:8]))
        ascending = [number for number in range(20) for _ in range(count[number])]
        assert row[8] == ">" and [int(word) for word in row[9:]] == [ascending[i] for i in place]
    assert (batch.roles == [Role.PROMPT] * 9 + [Role.ANSWER] * 8).all()


@pytest.mark.parametrize("order", ["ascending", "descending"])
def test_numbers_may_be_given_in_order(order: str) -> None:
    """They are the numbers of a random order, sorted: the same draws give the same answers."""
    given_in_order = rows(Sorting(input_order=order), 500, 6).tokens  # type: ignore[arg-type]
    random = rows(Sorting(), 500, 6).tokens
    down = np.diff(given_in_order[:, :6], axis=1) * (-1 if order == "descending" else 1)
    assert (down >= 0).all() and (given_in_order[:, 7:] == random[:, 7:]).all()
    assert (np.sort(random[:, :6], 1) == random[:, 7:]).all()


@pytest.mark.parametrize(("values", "length", "held"), [(5, 3, 1), (3, 4, 1), (40, 2, 2)])
def test_splits_divide_all_multisets(values: int, length: int, held: int) -> None:
    """By listing; every number of a row is uniform, and chance is the share of the mode."""
    found = {}
    for split in ("train", "test"):
        task = Sorting(values, split=split)
        tokens = rows(task, 40_000, length).tokens
        share = np.bincount(tokens[:, :length].ravel(), minlength=values) / tokens[:, :length].size
        np.testing.assert_allclose(share, 1 / values, atol=0.006)
        for column in range(length):
            share = np.bincount(tokens[:, column], minlength=values) / len(tokens)
            np.testing.assert_allclose(share, 1 / values, atol=0.012)
        found[split] = Counter(map(tuple, tokens[:, length + 1 :].tolist()))
        most = max(found[split].values()) / len(tokens)
        assert task.chance(length) == pytest.approx(most, rel=0.3, abs=0.001)
    every = set(combinations_with_replacement(range(values), length))
    assert set(found["train"]) | set(found["test"]) == every
    assert not set(found["train"]) & set(found["test"])
    assert 0.5 < len(found["test"]) / len(every) * values / held < 2


@given(task=options(Sorting), length=st.integers(1, 40), seed=seeds)
def test_options_combine(task: Sorting, length: int, seed: int) -> None:
    batch = drawn(task, seed, length)
    assert [first_error(task, batch, row) for row in range(2)] == [None, None]


def test_malformed_prompts_are_refused() -> None:
    for task, prompt in (
        (Sorting(), [3, 5]),
        (Sorting(), [3, 64, 5, 64]),
        (Sorting(input_order="ascending"), [5, 3, 64]),
        (Sorting(input_order="descending"), [3, 5, 64]),
    ):
        with pytest.raises(ValueError, match="prompt = "):
            task.solve(prompt)


@pytest.mark.parametrize(
    ("settings", "length", "named"),
    [
        ({"values": 1}, 5, "values = 1"),
        ({"values": 10_001}, 5, "values = 10001"),
        ({"input_order": "shuffled"}, 5, "input_order = 'shuffled'"),
        ({"output_order": "random"}, 5, "output_order = 'random'"),
        ({"secret": 1}, 5, "secret = 1"),
        ({"secret": -1, "output_order": "shuffled"}, 5, "secret = -1"),
        ({}, 0, "length = 0"),
        ({"split": "seen"}, 8, "split = 'seen'"),
    ],
)
def test_refusals_name_the_option(settings: dict[str, object], length: int, named: str) -> None:
    refuses(Sorting, settings, length, f"^{named} cannot be used")


@pytest.mark.parametrize("task", [Sorting(9, "descending", "shuffled", 2, "test")])
def test_contract(task: Sorting) -> None:
    check(task)
