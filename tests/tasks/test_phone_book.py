"""The phone book against one that is read from its rows: closed, and unpredictable without it."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.testing import first_error, options, seeds
from tasks import Batch, Role
from tasks.phone_book import PhoneBook
from tests.tasks.common import check, drawn, printed, refuses


def rows(task: PhoneBook, n: int, length: int, seed: int = 1) -> Batch:
    return task.sample(np.random.default_rng(seed), n, length)


def test_rows_read_like_a_phone_book() -> None:
    """10,000 rows of both splits and one dict: no name has two numbers, none is missing, and the
    scored number is that of the second name."""
    book: dict[str, str] = {}
    for split in ("train", "test"):
        task = PhoneBook(letters=3, digits=5, split=split)
        batch = rows(task, 5000, 300)
        for row in map("".join, printed(task, batch)):
            for name, number in ((row[:3], row[3:8]), (row[8:11], row[11:])):
                assert name.isalpha() and number.isdecimal()
                assert book.setdefault(name, number) == number
            assert row[:3] != row[8:11]
        assert len(book) == 300  # every name is in the rows of both splits
        scored = task.scored_part(batch).roles
        assert (scored == [Role.PROMPT] * 11 + [Role.ANSWER] * 5).all()
    told = {"".join(task.words[t] for t in row) for row in task.book(300)}
    assert told == {name + number for name, number in book.items()}


def test_secret_and_length_determine_the_book() -> None:
    book = PhoneBook(secret=1).book(50)
    assert (book == PhoneBook(secret=1, split="test").book(50)).all()
    for other in (PhoneBook(secret=2).book(50), PhoneBook(secret=1).book(51)[:50]):
        assert (book != other).any(1).mean() > 0.9


def test_numbers_tell_nothing_of_names_or_of_each_other() -> None:
    """Chi-squared of every digit with every other digit and letter, of 20,000 names in a book."""
    book = PhoneBook(letters=4, digits=4, secret=3).book(20_000).astype(np.int64)
    columns = [*(book[:, :4] - 10).T, *book[:, 4:].T]
    for j in range(4, 8):
        for i in range(j):
            sides = 26 if i < 4 else 10
            counts = np.zeros((sides, 10))
            np.add.at(counts, (columns[i], columns[j]), 1)
            expected = np.outer(counts.sum(1), counts.sum(0)) / len(book)
            free = (sides - 1) * 9
            assert ((counts - expected) ** 2 / expected).sum() < free + 5 * (2 * free) ** 0.5
    assert len(np.unique(book[:, :4], axis=0)) == len(book)


def test_splits_divide_all_pairs() -> None:
    """By listing the pairs of 33 names: 2 first names of 32 are held out for every second one, so
    the name that is scored is uniform in both splits."""
    found = {}
    for split in ("train", "test"):
        tokens = rows(PhoneBook(split=split), 40_000, 33).tokens
        found[split] = set(map(tuple, tokens[:, [0, 1, 2, 3, 8, 9, 10, 11]].tolist()))
        second = np.unique(tokens[:, 8:12], axis=0, return_counts=True)[1] / len(tokens)
        assert len(second) == 33
        np.testing.assert_allclose(second, 1 / 33, atol=0.005)
    names = [tuple(row[:4].tolist()) for row in PhoneBook().book(33)]
    assert found["train"] | found["test"] == {a + b for a, b in permutations(names, 2)}
    assert not found["train"] & found["test"] and len(found["test"]) == 33 * 2


def test_chance_is_the_share_of_the_most_common_number() -> None:
    task = PhoneBook(letters=2, digits=1, secret=4)
    numbers = [int(row[-1]) for row in task.book(60)]
    assert task.chance(60) == max(map(numbers.count, range(10))) / 60


@given(task=options(PhoneBook), length=st.integers(1, 40), seed=seeds)
def test_options_combine(task: PhoneBook, length: int, seed: int) -> None:
    batch = drawn(task, seed, length)
    assert [first_error(task, batch, row) for row in range(2)] == [None, None]
    (line,) = task.secrets(length)
    name, number = line.split("begins ")[1].split(",")[0].split()
    assert (len(name), len(number)) == (task.letters, task.digits) and str(length) in line


def test_unknown_and_equal_names_are_refused() -> None:
    task = PhoneBook(letters=2)
    names = task.book(5)[:, :2].tolist()
    assert len(task.solve([*names[0], *names[1]], [5])[1]) == 8
    unknown = next([a, b] for a in range(10, 36) for b in range(10, 36) if [a, b] not in names)
    for bad in ([*names[0], *unknown], [*names[0], *names[0]], names[0], [*names[0], *names[1], 1]):
        with pytest.raises(ValueError):
            task.solve(bad, [5])


@pytest.mark.parametrize(
    ("settings", "length", "named"),
    [
        ({"letters": 0}, 5, "letters = 0"),
        ({"letters": 9}, 5, "letters = 9"),
        ({"digits": 0}, 5, "digits = 0"),
        ({"digits": 17}, 5, "digits = 17"),
        ({"secret": -1}, 5, "secret = -1"),
        ({"letters": 1}, 27, "length = 27 .* from 3 to 26"),
        ({}, 2, "length = 2"),
        ({"split": "seen"}, 8, "split = 'seen'"),
    ],
)
def test_refusals_name_the_option(settings: dict[str, object], length: int, named: str) -> None:
    refuses(PhoneBook, settings, length, named)


@pytest.mark.parametrize("task", [PhoneBook(letters=2, digits=1, secret=5, split="test")])
def test_contract(task: PhoneBook) -> None:
    check(task)
