"""Bigram text against counts of its rows, and its least loss against a sum over all texts."""

from __future__ import annotations

import dataclasses
from itertools import pairwise, product
from math import log, prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.testing import options, seeds
from tasks import Batch, Role
from tasks.bigram import Bigram
from tests.tasks.common import check, drawn, printed, refuses


def rows(task: Bigram, n: int, length: int, seed: int = 1) -> Batch:
    return task.sample(np.random.default_rng(seed), n, length)


@pytest.mark.parametrize("split", ["train", "test"])
def test_draws_follow_the_table(split: str) -> None:
    """Successors of every symbol, counted in 10,000 rows, have the probabilities of the table; the
    first symbols and the prompts are uniform."""
    task = Bigram(symbols=6, low=0.7, high=2.1, secret=2, split=split)
    tokens = rows(task, 10_000, 40).tokens
    drawn, pairs = tokens[:, 1:], np.zeros((6, 6))
    np.add.at(pairs, (drawn[:, :-1].ravel(), drawn[:, 1:].ravel()), 1)
    np.testing.assert_allclose(pairs / pairs.sum(1, keepdims=True), task.table(), atol=0.01)
    np.testing.assert_allclose(np.bincount(drawn[:, 0]) / 10_000, 1 / 6, atol=0.015)
    np.testing.assert_allclose(np.bincount(tokens[:, 0] - 6) / 10_000, 1 / 16, atol=0.01)


@pytest.mark.parametrize(("low", "high"), [(0, 0), (0, 1.5), (0.3, 2.5), (1e-6, 3), (3, 3)])
def test_rows_have_their_entropy(low: float, high: float) -> None:
    """By a sum over the probabilities; a table of other entropies has the same favourites."""
    table = Bigram(symbols=8, low=low, high=high, secret=1).table()
    for x, row in enumerate(table.tolist()):
        bits = -sum(p * log(p) for p in row if p) / log(2)
        assert bits == pytest.approx(high if x % 2 else low, abs=1e-9)
        assert sum(row) == pytest.approx(1) and min(row) >= 0
    if high < 3:
        assert (table.argmax(1) == Bigram(8, 0.5, 2, 1).table().argmax(1)).all()
    assert np.abs(Bigram(8, 0.5, 2, 1).table() - Bigram(8, 0.5, 2, 2).table()).max() > 0.1


@pytest.mark.parametrize("length", [1, 2, 3, 5])
def test_least_loss_and_chance_are_sums_over_all_texts(length: int) -> None:
    task = Bigram(symbols=4, low=0.4, high=1.8, secret=3)
    table = task.table().tolist()
    texts = {
        text: prod((0.25, *(table[x][y] for x, y in pairwise(text))))
        for text in product(range(4), repeat=length)
    }
    assert sum(texts.values()) == pytest.approx(1)
    loss = -sum(p * log(p) for p in texts.values()) / length
    assert task.least_loss(length) == pytest.approx(loss, rel=1e-12)
    last = [sum(p for text, p in texts.items() if text[-1] == x) for x in range(4)]
    assert task.chance(length) == pytest.approx(max(last))
    assert f"{loss:.4f} nats" in task.secrets(length)[0]


def test_splits_divide_all_rows() -> None:
    """By listing the texts of 3 symbols: one prompt of 16 is held out for each."""
    task = Bigram(symbols=2, low=0.9, high=1.0)
    found = {
        split: set(
            map(tuple, rows(dataclasses.replace(task, split=split), 9000, 3).tokens.tolist())
        )
        for split in task.splits()
    }
    assert len(found["train"] | found["test"]) == 16 * 8 and not found["train"] & found["test"]
    assert {row[1:] for row in found["test"]} == set(product(range(2), repeat=3))
    assert len(found["test"]) == 8


@given(task=options(Bigram), length=st.integers(1, 20), seed=seeds)
def test_options_combine(task: Bigram, length: int, seed: int) -> None:
    """All words after the prompt are supervised, one of them is scored."""
    batch = drawn(task, seed, length)
    for row, hidden in zip(printed(task, batch), batch.hidden.tolist(), strict=True):
        assert row[0].startswith("#") and list(map(int, row[1:])) == hidden
    assert (batch.roles[:, 0] == Role.PROMPT).all() and (batch.roles[:, 1:] == Role.ANSWER).all()
    scored = task.scored_part(batch).roles
    assert (scored[:, -1] == Role.ANSWER).all() and (scored[:, :-1] == Role.PROMPT).all()


@pytest.mark.parametrize(
    ("settings", "length", "named"),
    [
        ({"symbols": 1}, 5, "symbols = 1"),
        ({"symbols": 513}, 5, "symbols = 513"),
        ({"low": -0.1}, 5, "low = -0.1"),
        ({"low": float("nan")}, 5, "low = nan"),
        ({"low": 4.5}, 5, "high = 4.0"),
        ({"high": 5.1}, 5, "high = 5.1"),
        ({"secret": -1}, 5, "secret = -1"),
        ({"split": "unseen"}, 5, "split = 'unseen'"),
        ({}, 0, "length = 0"),
    ],
)
def test_refusals_name_the_option(settings: dict[str, object], length: int, named: str) -> None:
    refuses(Bigram, settings, length, f"^{named} cannot be used")


def test_a_prompt_is_one_of_its_tokens() -> None:
    assert Bigram().solve([33], [4, 5]) == ([], [4, 5])
    for prompt in ([], [31], [48], [33, 33]):
        with pytest.raises(ValueError, match="prompt = "):
            Bigram().solve(prompt, [4, 5])


@pytest.mark.parametrize("task", [Bigram(symbols=3, low=0, high=1.2, split="test")])
def test_contract(task: Bigram) -> None:
    check(task)
