"""The contract notices faults planted in every task: a wrong label, a leak, a biased class."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

import tasks
from lab.data.rows import join
from lab.testing import balanced, disjoint, findings, solved, valid_lengths
from tasks import Batch, Role, Task

# Options that make the input space small, so that sampling finds a leak; shortest length tried.
SMALL: dict[str, dict[str, Any]] = {
    "copy": {"symbols": 2},
    "disjoint_sets": {"short": 1, "elements": 6},
    "mixture": {"parts": "parity k=2; copy symbols=2"},
    "planted": {"k": 2, "background": 1},
    "recall": {"vocabulary": 8, "tokens": 4},
    "sgd": {"dimension": 1, "inputs": 1, "limit": 4, "fraction": 1, "rate": 1, "noise": 0},
    "shortest_path": {"extra": 0.0},
    "word_problem": {"group": "S3"},
}


def wrong_label(cls: type[Task]) -> type[Task]:
    """Every fifth row or so gets another last answer token."""

    class WrongLabel(cls):  # type: ignore[valid-type,misc]
        def sample(self, rng: np.random.Generator, n: int, length: int) -> Batch:
            batch = super().sample(rng, n, length)
            tokens = batch.tokens.copy()
            answer = batch.roles == Role.ANSWER
            last = answer.shape[1] - 1 - answer[:, ::-1].argmax(1)
            rows = np.flatnonzero(rng.random(n) < 0.2)
            old = tokens[rows, last[rows]]
            tokens[rows, last[rows]] = (old + 1) % len(self.words)
            return Batch(tokens, batch.roles, batch.hidden)

    return WrongLabel


def leaking(cls: type[Task]) -> type[Task]:
    """The held-out split draws one row in ten from the training split."""

    class Leaking(cls):  # type: ignore[valid-type,misc]
        def sample(self, rng: np.random.Generator, n: int, length: int) -> Batch:
            own = super().sample(rng, n, length)
            if self.split == self.splits()[0] or n < 2:
                return own
            train = cls(**{**dataclasses.asdict(self), "split": self.splits()[0]})  # type: ignore[call-overload]
            leaked = max(1, n // 10)
            return join([own[leaked:n], train.sample(rng, leaked, length)])

    return Leaking


def biased(cls: type[Task]) -> type[Task]:
    """Three rows in ten are one and the same row."""

    class Biased(cls):  # type: ignore[valid-type,misc]
        def sample(self, rng: np.random.Generator, n: int, length: int) -> Batch:
            own = super().sample(rng, n, length)
            one = super().sample(np.random.default_rng(5), 1, length)
            both = join([own, one])
            return both[np.where(rng.random(n) < 0.3, n, np.arange(n))]

    return Biased


def faulty(name: str, fault: Any) -> Task:
    return fault(tasks.load(name))(**SMALL.get(name, {}))  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", tasks.names())
def test_a_wrong_label_is_noticed(name: str) -> None:
    title = (solved.__doc__ or "").rstrip(".")
    message = next(f.broken for f in findings(faulty(name, wrong_label), 40) if f.name == title)
    assert message and "solve says" in message


@pytest.mark.parametrize("name", tasks.names())
def test_a_leak_is_noticed(name: str) -> None:
    task = faulty(name, leaking)
    with pytest.raises(AssertionError, match="is in both"):
        disjoint(task, valid_lengths(task))


@pytest.mark.parametrize("name", tasks.names())
def test_a_biased_class_is_noticed(name: str) -> None:
    task = faulty(name, biased)
    with pytest.raises(AssertionError, match="the most common answer has a share"):
        balanced(task, valid_lengths(task))
