"""What several tests of tasks share: printed rows, edit distance, scalar noise, the contract."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import assume, settings

from lab.testing import check_task
from tasks import Batch, Role, Task
from tests.profiles import NIGHTLY


def check(task: Task) -> None:
    """The contract on random cases. Options of their own: fewer cases, statistics by `nightly`."""
    own = task != type(task)()
    examples = settings().max_examples * 2 // 5 if own else settings().max_examples
    check_task(task, examples, derandomize=False, statistics=NIGHTLY or not own)


def refuses(cls: type[Task], settings: dict[str, object], length: int, named: str) -> None:
    """Making the task or sampling rows of this length raises a ValueError that matches `named`."""
    with pytest.raises(ValueError, match=named):
        cls(**settings).sample(np.random.default_rng(0), 1, length)


def drawn(task: Task, seed: int, length: int) -> Batch:
    """Two rows; hypothesis drops the example if the options do not allow this length."""
    try:
        return task.sample(np.random.default_rng(seed), 2, length)
    except ValueError:
        assume(False)
        raise


def many(rows: int) -> int:
    """That many rows under `nightly`, a third of them by default: for loops over printed rows."""
    return rows if NIGHTLY else rows // 3


def printed(task: Task, batch: Batch) -> list[list[str]]:
    """The rows as words, without padding."""
    words, pad = task.words, int(Role.PAD)
    return [
        [words[t] for t, role in zip(tokens, roles, strict=True) if role != pad]
        for tokens, roles in zip(batch.tokens.tolist(), batch.roles.tolist(), strict=True)
    ]


def edits(one: Sequence[str], two: Sequence[str]) -> int:
    """The least number of insertions, deletions and replacements (Levenshtein)."""
    row = list(range(len(two) + 1))
    for i, x in enumerate(one, 1):
        last, row[0] = row[0], i
        for j, y in enumerate(two, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (x != y))
    return row[-1]


def value(digits: Sequence[str] | Sequence[int], base: int) -> int:
    """The number that these digits, as numbers or their words, are in a base."""
    return int("".join(np.base_repr(int(word), 36) for word in digits), base)


def digits_of(number: int, base: int, width: int) -> list[str]:
    """The words of the digits of a number in a base, with leading zeros."""
    return [str(int(digit, 36)) for digit in np.base_repr(number, base).zfill(width)]


def corrupted(task: Task, length: int, token: int, corruption: int) -> int:
    """What a corruption makes of one token: another of its noise group; -1 changes nothing."""
    for group in task.noise_groups(length):
        if token in group and len(group) > 1 and corruption >= 0:
            return group[(group.index(token) + 1 + corruption % (len(group) - 1)) % len(group)]
    return token
