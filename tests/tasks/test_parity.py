"""Sparse parity: the hidden set from linear algebra over GF(2), splits by enumeration, noise."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lab.data.rows import Rows
from lab.testing import check_task, options
from tasks import Batch, Role
from tasks.parity import Parity
from tests.tasks.common import NIGHTLY, check


def solve_gf2(bits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The unique s with bits @ s = labels (mod 2), by Gaussian elimination; fails if not unique."""
    system = np.concatenate([bits, labels[:, None]], 1) % 2
    row = 0
    n = bits.shape[1]
    for column in range(n):
        pivots = np.flatnonzero(system[row:, column])
        assert len(pivots), f"column {column} is not determined"
        system[[row, row + pivots[0]]] = system[[row + pivots[0], row]]
        others = np.flatnonzero(system[:, column])
        others = others[others != row]
        system[others] ^= system[row]
        row += 1
    assert not system[row:, -1].any(), "the labels are not a parity"
    return system[:n, -1]


def parts(batch: Batch, length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return batch.tokens[:, :length], batch.tokens[:, length:-1], batch.tokens[:, -1]


@given(length=st.integers(4, 40), k=st.integers(1, 12), secret=st.integers(0, 99))
def test_rows_give_the_hidden_set_away(length: int, k: int, secret: int) -> None:
    task = Parity(k=min(k, length), secret=secret)
    bits, thought, answer = parts(Rows(task, length, 3)[0:200], length)
    hidden_set = np.flatnonzero(solve_gf2(bits, answer))
    assert hidden_set.tolist() == task.support(length).tolist()
    assert len(hidden_set) == task.k
    assert not thought[:, 0].any()
    for j in range(1, thought.shape[1]):
        assert (thought[:, j] == bits[:, hidden_set[:j]].sum(1) % 2).all()


def test_oracle_on_many_rows() -> None:
    bits, _, answer = parts(Rows(Parity(), 20, 0)[0:10_000], 20)
    support = solve_gf2(bits, answer)
    assert ((bits @ support) % 2 == answer).all()


def test_worked_row() -> None:
    task = Parity(k=3, secret=next(s for s in range(999) if _support(s) == [0, 1, 3]))
    assert task.solve([1, 1, 0, 1, 0]) == ([0, 1, 0], [1])


def _support(secret: int) -> list[int]:
    return Parity(k=3, secret=secret).support(5).tolist()


@pytest.mark.parametrize("length", [2, 3, 5, 8, 10])
@pytest.mark.parametrize("k", [1, 2])
def test_splits_by_enumeration(length: int, k: int) -> None:
    task = Parity(k=k, secret=5)
    seen = {}
    for split in task.splits():
        rows = Rows(dataclasses.replace(task, split=split), length, 1)[0 : 40 * 2**length]
        inputs, counts = np.unique(rows.tokens[:, :length], axis=0, return_counts=True)
        seen[split] = {tuple(row) for row in inputs.tolist()}
        # uniform within the split: all counts near their mean
        assert counts.min() > 0.2 * counts.mean()
        ones = rows.tokens[:, -1].mean()
        assert abs(ones - 0.5) < 3.5 * 0.5 / len(rows) ** 0.5
    assert not seen["train"] & seen["test"]
    assert seen["train"] | seen["test"] == set(itertools.product((0, 1), repeat=length))
    assert len(seen["test"]) == 2**length // 2 ** min(4, length - 1)


def test_every_single_token_mutation_is_noticed() -> None:
    task = Parity()
    batch = Rows(task, 20, 4)[0:1000]
    bits, thought, answer = parts(batch, 20)
    written = np.concatenate([thought, answer[:, None]], 1)
    support = task.support(20)

    def steps_hold(rows: np.ndarray) -> np.ndarray:
        start = rows[:, 0] == 0
        return start & (rows[:, 1:] == rows[:, :-1] ^ bits[:, support]).all(1)

    assert steps_hold(written).all()
    for j in range(written.shape[1]):
        mutant = written.copy()
        mutant[:, j] ^= 1
        assert not steps_hold(mutant).any()


def test_last_bit_is_hidden_only_when_all_are() -> None:
    for secret in range(50):
        assert 9 not in Parity(k=4, secret=secret).support(10)
    assert Parity(k=10).support(10).tolist() == list(range(10))


def test_noise_flips_training_answers_only() -> None:
    noisy = Parity(k=4, noise=0.2)
    for task, rate in (
        (noisy, 0.2),
        (dataclasses.replace(noisy, split="test"), 0.0),
        (dataclasses.replace(noisy, split="test", noisy_test=True), 0.2),
    ):
        batch = Rows(task, 20, 0)[0:20_000]
        bits, _, answer = parts(batch, 20)
        wrong = bits[:, task.support(20)].sum(1) % 2 != answer
        assert abs(wrong.mean() - rate) < 0.012
        assert (wrong == batch.hidden[:, 0].astype(bool)).all()
    check(noisy)


@pytest.mark.parametrize(("share", "bits"), [(0.2, 4), (0.5, 10), (0.01, 1)])
def test_dense_parity_counts_bits_as_a_share(share: float, bits: int) -> None:
    assert len(Parity(k=share).support(20)) == bits


@given(task=options(Parity))
@settings(
    max_examples=settings().max_examples // 10, suppress_health_check=[HealthCheck.nested_given]
)
def test_contract_for_other_options(task: Parity) -> None:
    check_task(task, examples=20, derandomize=False, statistics=NIGHTLY)


@pytest.mark.parametrize(
    "bad", [{"k": 0}, {"k": 2.5}, {"k": -1}, {"noise": 0.6}, {"noise": -0.1}, {"secret": -1}]
)
def test_bad_options_are_named(bad: dict[str, float]) -> None:
    (name,) = bad
    with pytest.raises(ValueError, match=f"^{name} = .* cannot be used"):
        Parity(**bad)  # type: ignore[arg-type]


def test_k_above_the_length_is_refused() -> None:
    with pytest.raises(ValueError, match="k = 30 cannot be used: at most the length, 20"):
        Parity(k=30).sample(np.random.default_rng(0), 1, 20)


def test_roles() -> None:
    batch = Rows(Parity(k=2), 4, 0)[0:1]
    p, t, a = Role.PROMPT, Role.THOUGHT, Role.ANSWER
    assert batch.roles.tolist() == [[p, p, p, p, t, t, a]]
    assert batch.without_thoughts().roles.tolist() == [[p, p, p, p, a]]
