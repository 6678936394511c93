"""Bigram-Backcopy against its rule, its bigram table, and its split by listing all rows."""

from __future__ import annotations

import dataclasses
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.testing import options, seeds
from tasks import Batch, Role
from tasks.backcopy import Backcopy
from tests.tasks.common import check, drawn, printed, refuses


def rows(task: Backcopy, n: int, length: int, seed: int = 1) -> Batch:
    return task.sample(np.random.default_rng(seed), n, length)


def test_worked_row() -> None:
    task = Backcopy()
    row = [task.words.index(word) for word in "$ca2af1fe1e"]
    told = [task.words.index(word) if word != "_" else 0 for word in "ca2_f1_e1_"]
    assert task.solve(row[:1], told) == ([], row[1:])


@given(task=options(Backcopy), length=st.integers(1, 30), seed=seeds)
def test_printed_rows_follow_the_rule(task: Backcopy, length: int, seed: int) -> None:
    """By the words alone: digits are triggers; what the last token must be stands before them."""
    batch = drawn(task, seed, length)
    assert batch.tokens.shape == (2, length + 1)
    for row, hidden in zip(printed(task, batch), batch.hidden.tolist(), strict=True):
        assert row[0] == "$" and row[1].isalpha() and row[-3] == row[-1] and row[-2].isdigit()
        for t in range(2, len(row)):
            copy = row[t - 1].isdigit()
            assert not copy or row[t] == row[t - 2]
            assert hidden[t - 1] == (0 if copy else task.words.index(row[t]))
    scored = task.scored_part(batch).roles
    assert (scored[:, -1] == Role.ANSWER).all() and (scored[:, :-1] == Role.PROMPT).all()
    depends = task.dependencies(batch, length)
    triggers = np.argwhere(batch.tokens > task.letters)
    assert depends.sum() == len(triggers) and all(depends[n, t, t - 1] for n, t in triggers)


@pytest.mark.parametrize("split", ["train", "test"])
def test_draws_follow_the_table(split: str) -> None:
    """Counted in rows of a small alphabet: successors of each letter, triggers, first letters."""
    task = Backcopy(letters=5, triggers=3, rate=0.3, secret=2, split=split)
    tokens = rows(task, 4000, 60).tokens[:, 1:-3]  # the end of a row is not drawn freely
    before, after = tokens[:, :-1].ravel(), tokens[:, 1:].ravel()
    letter = before <= 5
    pairs = np.zeros((6, 9))
    np.add.at(pairs, (before[letter], after[letter]), 1)
    pairs = pairs[1:, 1:] / pairs[1:, 1:].sum(1, keepdims=True)
    table = task.table()
    assert table.sum(1) == pytest.approx(1) and np.abs(table - 0.2).max() > 0.1
    np.testing.assert_allclose(pairs[:, :5], 0.7 * table, atol=0.012)
    np.testing.assert_allclose(pairs[:, 5:], 0.1, atol=0.012)
    np.testing.assert_allclose(np.bincount(tokens[:, 0], minlength=6)[1:] / 4000, 0.2, atol=0.03)


def test_the_secret_alone_determines_the_table() -> None:
    table = Backcopy(secret=1).table()
    assert (table == Backcopy(secret=1, rate=0.5, triggers=9, split="test").table()).all()
    assert np.abs(table - Backcopy(secret=2).table()).max() > 0.1


def listed(task: Backcopy, length: int) -> dict[tuple[int, ...], float]:
    """Every row of a length, without its split, and its probability."""
    table, letters, found = task.table(), range(task.letters), {}
    for row in product(range(1, len(task.words)), repeat=length):
        p = float(row[0] <= task.letters) / task.letters
        for t in range(1, length):
            x, y = row[t - 1] - 1, row[t] - 1
            if x not in letters:
                p *= y == row[t - 2] - 1
            elif t == length - 2:
                p *= (y not in letters) / task.triggers
            elif y in letters:
                p *= table[x, y] * (1 if t == length - 3 else 1 - task.rate)
            else:
                p *= 0 if t == length - 3 else task.rate / task.triggers
        if p:
            found[row] = p
    return found


@pytest.mark.parametrize("length", [3, 4, 5, 6])
def test_splits_and_chance_by_listing(length: int) -> None:
    """One of the two last triggers of every row is held out; rows have their probabilities."""
    task = Backcopy(letters=2, triggers=2, rate=0.4, secret=3)
    every = listed(task, length)
    assert sum(every.values()) == pytest.approx(1)
    held: dict[str, set[tuple[int, ...]]] = {}
    for split in task.splits():
        tokens = rows(dataclasses.replace(task, split=split), 20_000, length).tokens[:, 1:]
        found, counts = np.unique(tokens, axis=0, return_counts=True)
        held[split] = set(map(tuple, found.tolist()))
        for row, count in zip(map(tuple, found.tolist()), counts, strict=True):
            assert count / 20_000 == pytest.approx(2 * every[row], abs=0.02)
    assert not held["train"] & held["test"]
    for row in held["train"]:
        assert (*row[:-2], 7 - row[-2], row[-1]) not in held["train"]  # triggers are 3 and 4
    last = [sum(p for row, p in every.items() if row[-1] == x) for x in (1, 2)]
    assert task.chance(length) == pytest.approx(max(last))


@pytest.mark.parametrize(
    ("settings", "length", "named"),
    [
        ({"letters": 1}, 5, "letters = 1"),
        ({"letters": 1001}, 5, "letters = 1001"),
        ({"triggers": 1}, 5, "triggers = 1"),
        ({"triggers": 1001}, 5, "triggers = 1001"),
        ({"rate": -0.1}, 5, "rate = -0.1"),
        ({"rate": float("nan")}, 5, "rate = nan"),
        ({"secret": -1}, 5, "secret = -1"),
        ({"split": "unseen"}, 5, "split = 'unseen'"),
        ({}, 2, "length = 2"),
    ],
)
def test_refusals_name_the_option(settings: dict[str, object], length: int, named: str) -> None:
    refuses(Backcopy, settings, length, f"^{named} cannot be used")


@pytest.mark.parametrize("task", [Backcopy(letters=2, triggers=40, rate=0.9, split="test")])
def test_contract(task: Backcopy) -> None:
    check(task)
