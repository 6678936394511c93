"""Splits by one digit of a row: exact and disjoint for every rest, and keyed."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tasks._split import draw_digit, fingerprint, held_out

ROWS = np.array(list(itertools.product(range(7), repeat=4)))  # a digit and a rest of 3 columns


@pytest.mark.parametrize("held", [1, 3])
def test_every_rest_has_the_same_number_of_held_out_digits(held: int) -> None:
    out = held_out(ROWS[:, 0], ROWS[:, 1:], 7, held)
    for rest in itertools.product(range(7), repeat=3):
        assert out[(ROWS[:, 1:] == rest).all(1)].sum() == held


@pytest.mark.parametrize("test", [False, True])
def test_digits_are_uniform_within_their_split(test: bool) -> None:
    rest = np.tile([3, 1, 4], (40_000, 1))
    digit = draw_digit(np.random.default_rng(0), rest, 7, 2, test)
    assert (held_out(digit, rest, 7, 2) == test).all()
    counts = np.bincount(digit, minlength=7)
    values = 2 if test else 5
    assert (counts > 0).sum() == values
    mean = len(rest) / values
    assert np.abs(counts[counts > 0] - mean).max() < 5 * mean**0.5


def test_the_fingerprint_depends_on_every_column_and_on_the_key() -> None:
    prints = fingerprint(ROWS).tolist()
    assert len(set(prints)) == len(ROWS)
    assert prints == fingerprint(ROWS.astype(np.uint8)).tolist()
    keyed = fingerprint(ROWS, key=5).tolist()
    assert not set(keyed) & set(prints)
    low = np.array([p % 7 for p in prints])
    share = np.bincount(low, minlength=7) / len(low)
    assert np.abs(share - 1 / 7).max() < 5 * (1 / 7 / len(low)) ** 0.5
    assert fingerprint(np.zeros((3, 0), np.int64)).shape == (3,)
