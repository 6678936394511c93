"""Stars against counts of their rows, and their least loss against a sum over all rows."""

from __future__ import annotations

from itertools import product
from math import log, prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.testing import options, seeds
from tasks import Batch, Role
from tasks.star import Star
from tests.tasks.common import check, drawn, printed, refuses


def rows(task: Star, n: int, length: int, seed: int = 1) -> Batch:
    return task.sample(np.random.default_rng(seed), n, length)


def test_both_orders_have_the_same_draws() -> None:
    """The worked rows, read as words: the same leaves, and the head at either end."""
    first, last = (printed(task, rows(task, 500, 5)) for task in (Star(), Star("last")))
    for one, other in zip(first, last, strict=True):
        assert other == [one[0], *one[2:], one[1]] and one[0].startswith("#")


@pytest.mark.parametrize("split", ["train", "test"])
def test_draws_follow_the_tables(split: str) -> None:
    """In 10,000 rows: heads are uniform, a leaf has the row of its head, and leaves tell nothing of
    each other once the head is known."""
    task = Star(symbols=3, entropy=1.2, secret=2, split=split)
    tokens = rows(task, 10_000, 4).tokens
    np.testing.assert_allclose(np.bincount(tokens[:, 1]) / 10_000, 1 / 3, atol=0.02)
    for head in range(3):
        own = tokens[tokens[:, 1] == head, 2:]
        joint = np.zeros((3, 3, 3))
        np.add.at(joint, tuple(own.T), 1 / len(own))
        a, b, c = task.tables(4)[:, head]
        np.testing.assert_allclose(joint, np.einsum("i,j,k->ijk", a, b, c), atol=0.03)


def test_leaves_have_their_entropy_and_tables_of_their_own() -> None:
    tables = Star(entropy=2.5, secret=1).tables(7)
    assert tables.shape == (6, 10, 10)
    for row in tables.reshape(-1, 10).tolist():
        assert -sum(p * log(p) for p in row) / log(2) == pytest.approx(2.5, abs=1e-9)
    assert len(np.unique(tables.reshape(-1, 10), axis=0)) == 60
    np.testing.assert_allclose(tables, Star(entropy=2.5, secret=1).tables(9)[:6])
    assert np.abs(tables - Star(entropy=2.5, secret=2).tables(7)).max() > 0.1


@pytest.mark.parametrize("head_order", ["first", "last"])
def test_least_loss_and_chance_are_sums_over_all_rows(head_order: str) -> None:
    """In either order: the chain rule over the tokens as they stand in the row."""
    task = Star(head_order, symbols=3, entropy=0.9, secret=3)  # type: ignore[arg-type]
    tables = task.tables(4).tolist()
    chances: dict[tuple[int, ...], float] = {}
    for head, *leaves in product(range(3), repeat=4):
        p = prod(tables[i][head][leaf] for i, leaf in enumerate(leaves)) / 3
        chances[(head, *leaves) if head_order == "first" else (*leaves, head)] = p
    loss = 0.0
    for row, p in chances.items():
        for t in range(4):
            before = sum(q for other, q in chances.items() if other[:t] == row[:t])
            with_it = sum(q for other, q in chances.items() if other[: t + 1] == row[: t + 1])
            loss -= p * log(with_it / before)
    assert task.least_loss(4) == pytest.approx(loss / 4, rel=1e-12)
    at = 3 if head_order == "first" else 2
    last = [sum(p for row, p in chances.items() if row[at] == x) for x in range(3)]
    assert task.chance(4) == pytest.approx(max(last))
    assert f"{loss / 4:.4f} nats" in task.secrets(4)[0]


def test_splits_divide_all_rows() -> None:
    """By listing the rows of two bits: one prompt of 16 is held out for each."""
    found = {
        split: set(map(tuple, rows(Star("last", 2, 0.95, split=split), 5000, 3).tokens.tolist()))
        for split in ("train", "test")
    }
    assert len(found["train"] | found["test"]) == 16 * 8 and not found["train"] & found["test"]
    assert {row[1:] for row in found["test"]} == set(product(range(2), repeat=3))
    assert len(found["test"]) == 8


@given(task=options(Star), length=st.integers(1, 20), seed=seeds)
def test_the_last_leaf_is_scored(task: Star, length: int, seed: int) -> None:
    batch = drawn(task, seed, length)
    assert (batch.tokens[:, 1:] == batch.hidden).all()
    assert (batch.roles[:, 1:] == Role.ANSWER).all() and (batch.roles[:, 0] == Role.PROMPT).all()
    (scored,) = set(map(tuple, np.argwhere(task.scored_part(batch).roles == Role.ANSWER)[:, 1:]))
    assert scored == (length if task.head_order == "first" else length - 1,)
    depends = task.dependencies(batch, length)
    if task.head_order == "last":
        assert depends is None
    else:
        assert depends is not None
        assert np.argwhere(depends[0]).tolist() == [[t, 1] for t in range(1, length)]


@pytest.mark.parametrize(
    ("settings", "length", "named"),
    [
        ({"head_order": "middle"}, 5, "head_order = 'middle'"),
        ({"symbols": 1}, 5, "symbols = 1"),
        ({"symbols": 101}, 5, "symbols = 101"),
        ({"entropy": -0.1}, 5, "entropy = -0.1"),
        ({"entropy": 3.4}, 5, "entropy = 3.4"),
        ({"secret": -1}, 5, "secret = -1"),
        ({"split": "unseen"}, 5, "split = 'unseen'"),
        ({}, 1, "length = 1"),
    ],
)
def test_refusals_name_the_option(settings: dict[str, object], length: int, named: str) -> None:
    refuses(Star, settings, length, f"^{named} cannot be used")


def test_a_prompt_is_one_of_its_tokens() -> None:
    assert Star().solve([11], [4, 5]) == ([], [4, 5])
    for prompt in ([], [9], [26], [11, 11]):
        with pytest.raises(ValueError, match="prompt = "):
            Star().solve(prompt, [4, 5])


@pytest.mark.parametrize("task", [Star("last", symbols=2, entropy=0.5, split="test")])
def test_contract(task: Star) -> None:
    check(task)
