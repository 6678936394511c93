"""The hand-built transformer runs a machine exactly where no n-gram repeats, at any length."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.analysis.turing_program import repeats, turing_program
from lab.evaluation.decode import compare, decode
from tasks import Batch
from tasks.turing_machine import TuringMachine

# 26 symbols: at 200 cells, 1 row in 25 has a 4-gram that repeats by chance.
MACHINE = TuringMachine(states=1, symbols=26, steps=4)
SEVERAL = TuringMachine(states=3, symbols=16, steps=6)


def chosen(task: TuringMachine, length: int, n: int, repeating: bool, rows: int) -> Batch:
    """The first rows whose n-grams repeat, or of those that do not, as said by sets of tuples."""
    batch = task.sample(np.random.default_rng(5), 16 * rows if repeating else 2 * rows, length)
    fits = [twice(task, row, n) == repeating for row in batch.tokens]
    assert sum(fits) >= rows
    return batch[np.flatnonzero(fits)[:rows]]


def twice(task: TuringMachine, row: np.ndarray, n: int) -> bool:
    """Whether n cells stand twice in a tape of a printed row after the first one."""
    for tape in " ".join(task.words[t] for t in row).split(" SEP ")[1:]:
        cells = re.split(" EOS", tape)[0].split()[1:]
        grams = [tuple(cells[i : i + n]) for i in range(len(cells) - n + 1)]
        if len(set(grams)) < len(grams):
            return True
    return False


@pytest.mark.parametrize(
    ("task", "length", "rows"),
    [
        (MACHINE, 6, 16),
        (replace(MACHINE, secret=1), 12, 16),
        (replace(MACHINE, secret=2), 50, 8),
        (replace(MACHINE, secret=3), 200, 4),
        (SEVERAL, 12, 16),
        (replace(SEVERAL, secret=1), 25, 8),
    ],
    ids=["6 cells", "12 cells", "50 cells", "200 cells", "12 cells, 3 states", "25, 3 states"],
)
def test_rows_are_exact_where_no_4_gram_repeats(
    task: TuringMachine, length: int, rows: int
) -> None:
    batch = chosen(task, length, 4, False, rows)
    np.testing.assert_array_equal(decode(turing_program(task, 4), task, batch), batch.tokens)


@settings(max_examples=10)
@given(
    states=st.integers(1, 5),
    symbols=st.integers(2, 6),
    steps=st.integers(1, 9),
    halting=st.sampled_from([0.0, 0.1, 0.5]),
    length=st.integers(2, 7),
    secret=st.integers(0, 2**30),
)
def test_any_machine_is_exact_on_tapes_shorter_than_n(
    states: int, symbols: int, steps: int, halting: float, length: int, secret: int
) -> None:
    """An n-gram of more cells than the tape has cannot repeat, whatever stands on it."""
    task = TuringMachine(states, symbols, steps, halting=halting, secret=secret)
    batch = task.sample(np.random.default_rng(secret), 8, length)
    written = decode(turing_program(task, length + 1), task, batch)
    np.testing.assert_array_equal(written, batch.tokens)


def test_rows_are_wrong_where_n_grams_repeat() -> None:
    model = turing_program(MACHINE, 2)
    # In 1 row of 4 a 2-gram repeats by chance; with a block of three cells, in all of them.
    for task, least in ((MACHINE, 0.5), (replace(MACHINE, block=3), 1.0)):
        batch = chosen(task, 20, 2, True, 16)
        answer, thought, _ = compare(task, batch, decode(model, task, batch))
        assert (~(answer & thought)).mean() >= least


def test_longer_n_grams_tell_apart_what_shorter_ones_do_not() -> None:
    batch = chosen(MACHINE, 20, 2, True, 16)
    batch = batch[np.array([not twice(MACHINE, row, 4) for row in batch.tokens])]
    assert len(batch) >= 8
    written = decode(turing_program(MACHINE, 4), MACHINE, batch)
    np.testing.assert_array_equal(written, batch.tokens)


@given(st.integers(1, 9), st.integers(2, 12), st.integers(0, 4), st.integers(0, 2**30))
def test_repeats_are_n_grams_that_stand_twice(n: int, length: int, block: int, seed: int) -> None:
    task = TuringMachine(symbols=3, block=block, halting=0.2, secret=seed)
    rows = task.sample(np.random.default_rng(seed), 16, length).tokens
    assert repeats(task, rows, n).tolist() == [twice(task, row, n) for row in rows]


def test_what_there_is_no_program_for_is_refused() -> None:
    with pytest.raises(ValueError, match="machines = 2 cannot be used: the program runs one"):
        turing_program(TuringMachine(machines=2), 3)
    with pytest.raises(ValueError, match="n = 0 cannot be used: at least 1"):
        turing_program(MACHINE, 0)
