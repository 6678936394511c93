"""Whole blocks of rows, as a run draws them: 1,024 at a time, at short, middle and long lengths.

Each property is a function of (task, allowed) like those of `lab.testing.statistics`.
"""

from __future__ import annotations

import itertools

import numpy as np

from lab.data.rows import BLOCK, Rows
from lab.errors import user_line
from lab.testing.properties import check_form, check_solved, sample
from tasks import Task

MOST_TOKENS = 8192  # of a row of a long length: a block then takes 75 MB
SOLVED_TOKENS = 100_000  # of the rows of a block that are solved: all 1,024 of a short length
_LONG = (48, 64, 96, 128, 192, 256)


def probe_lengths(task: Task, allowed: list[int]) -> list[int]:
    """A short, a middle and a long length; the long one is above `allowed` where rows still fit.

    AssertionError if `sample` raises anything but ValueError at a long length.
    """
    longest = allowed[-1]
    for length in _LONG:
        try:
            tokens = sample(task, 0, 1, length).tokens
        except ValueError:
            continue  # the task refuses this length
        except Exception as error:
            raise AssertionError(f"length {length}: sample raises {user_line(error)}") from error
        if tokens.shape[1] <= MOST_TOKENS:
            longest = max(longest, length)
    return list(dict.fromkeys([allowed[0], allowed[len(allowed) // 2], longest]))


def blocks_are_solved(task: Task, allowed: list[int]) -> None:
    """Blocks of 1,024 rows are well-formed and solved at short, middle and long lengths."""
    for length in probe_lengths(task, allowed):
        block = Rows(task, length, 5)[0:BLOCK]
        count = min(BLOCK, max(24, SOLVED_TOKENS // block.tokens.shape[1]))
        try:
            check_form(task, block, BLOCK)
            check_solved(task, block, np.linspace(0, BLOCK - 1, count).astype(int).tolist())
        except AssertionError as error:
            raise AssertionError(f"a block of 1,024 rows of length {length}: {error}") from None


def length_matters(task: Task, allowed: list[int]) -> None:
    """Rows of two lengths differ."""
    lengths = probe_lengths(task, allowed)
    for one, two in itertools.pairwise(lengths):
        a, b = sample(task, 3, 64, one), sample(task, 3, 64, two)
        same = np.array_equal(a.tokens, b.tokens) and np.array_equal(a.roles, b.roles)
        assert not same, f"the rows of lengths {one} and {two} are the same: length is ignored"
