"""Arithmetic in context, against exact fractions that are reduced modulo p only at the end."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.testing import first_error, options, seeds
from tasks.compose_arithmetic import ComposeArithmetic
from tests.tasks.common import check, drawn, refuses

Rng = np.random.default_rng
NAMED = ["r + x", "r - x", "r * x", "r / x", "r + 2x", "r - 2x", "r * x^2", "r / x^2"]


def _exact(op: str, r: Fraction, x: int) -> Fraction:
    """One operation by its name, on rational numbers."""
    sign, operand = op.split()[1:]
    value = Fraction({"x": x, "2x": 2 * x, "x^2": x * x}[operand])
    if sign in "+-":
        return r + value if sign == "+" else r - value
    return r * value if sign == "*" else r / value


def _residue(value: Fraction, p: int) -> int:
    """The y with y * denominator = numerator modulo p, by trying all."""
    return next(y for y in range(p) if (y * value.denominator - value.numerator) % p == 0)


def test_worked_example() -> None:
    task = ComposeArithmetic(modulus=7, contexts=2)
    assert task.solve([5, 6, 3, 0, 2, 6], (1, 2)) == ([6, 5], [4, 2])


@pytest.mark.parametrize("split", ["seen", "unseen"])
@pytest.mark.parametrize("operations", [4, 8])
def test_exact_fractions_agree(split: str, operations: int) -> None:
    T, N, p = 3, 4, 13
    task = ComposeArithmetic(operations, p, N, split=split)
    batch = task.sample(Rng(1), 2500, T)
    blocks = batch.tokens.reshape(-1, N, 2 * T + 1).tolist()
    for row, ops in zip(blocks, batch.hidden.tolist(), strict=True):
        for block in row:
            r = Fraction(block[0])
            for t, op in enumerate(ops):
                r = _exact(NAMED[op], r, block[t + 1])
                assert block[T + 1 + t] == _residue(r, p)


def _holds(op: int, r: int, x: int, y: int, p: int) -> bool:
    """Whether y may follow r at operand x: a quotient is checked by multiplying back."""
    value = x * (op // 4 + 1) if op % 4 < 2 else x ** (op // 4 + 1)
    return [y - r - value, y - r + value, y - r * value, y * value - r][op % 4] % p == 0


def _replays(block: list[int], ops: list[int], p: int) -> bool:
    T = len(ops)
    chain = [block[0], *block[T + 1 :]]
    pairs = enumerate(itertools.pairwise(chain))
    return all(_holds(ops[t], r, block[t + 1], y, p) for t, (r, y) in pairs)


def test_replay_rejects_every_mutated_thought() -> None:
    T, N = 5, 2
    task = ComposeArithmetic(operations=8, contexts=N)
    p = task.modulus
    batch = task.sample(Rng(2), 1000, T)
    shift = Rng(3).integers(1, p, batch.tokens.shape)
    mutants = ((batch.tokens + shift) % p).reshape(-1, N, 2 * T + 1).tolist()
    blocks = batch.tokens.reshape(-1, N, 2 * T + 1).tolist()
    for row, ops in enumerate(batch.hidden.tolist()):
        for block, other in zip(blocks[row], mutants[row], strict=True):
            assert _replays(block, ops, p)
            for place in range(T + 1, 2 * T):
                mutant = [*block[:place], other[place], *block[place + 1 :]]
                assert not _replays(mutant, ops, p)


@pytest.mark.parametrize(("p", "D"), [(5, 4), (7, 8)])
def test_different_tuples_are_different_functions(p: int, D: int) -> None:
    """The claim behind "the blocks tell the tuple apart", over all inputs for T = 2."""
    task = ComposeArithmetic(D, p, contexts=p * (p - 1) ** 2, train_tasks=1)
    inputs = [i for x in itertools.product(range(p), range(1, p), range(1, p)) for i in x]
    answers = {tuple(task.solve(inputs, ops)[1]) for ops in itertools.product(range(D), repeat=2)}
    assert len(answers) == D * D


def test_blocks_identify_the_tuple_without_thought() -> None:
    T, N, p = 3, 16, 11
    task = ComposeArithmetic(contexts=N, split="unseen")
    batch = task.sample(Rng(4), 100, T).without_thoughts()
    for row, hidden in zip(batch.tokens.reshape(-1, N, T + 2), batch.hidden, strict=True):
        prompt, answer = row[:, :-1].ravel().tolist(), row[:, -1].tolist()
        tuples = itertools.product(range(4), repeat=T)
        fitting = [ops for ops in tuples if task.solve(prompt, ops)[1] == answer]
        assert fitting == [tuple(hidden)], p


def test_answers_are_uniform_for_every_tuple() -> None:
    """Also for tuples of multiplications, as no operand but the first is ever 0."""
    task = ComposeArithmetic(modulus=5, contexts=1, train_tasks=8)
    batch = task.sample(Rng(5), 80_000, 2)
    assert (batch.tokens[:, 1:3] > 0).all() and (batch.tokens[:, 0] == 0).any()
    for ops in task.seen(2):
        answers = batch.tokens[(batch.hidden == ops).all(1), -1]
        share = np.bincount(answers, minlength=5) / len(answers)
        assert np.abs(share - 0.2).max() < 5 * (0.16 / len(answers)) ** 0.5


def test_splits_divide_all_tuples() -> None:
    task = ComposeArithmetic(3, contexts=1, train_tasks=10)
    units = []
    for split in task.splits():
        part = ComposeArithmetic(3, contexts=1, train_tasks=10, split=split)
        batch = part.sample(Rng(6), 5000, 3)
        units.append({part.unit((), hidden) for hidden in batch.hidden.tolist()})
    assert units[0] == {tuple(ops) for ops in task.seen(3).tolist()} and len(units[0]) == 10
    assert units[1] == set(itertools.product(range(3), repeat=3)) - units[0]


def test_default_number_of_seen_tuples() -> None:
    assert len(ComposeArithmetic().seen(5)) == 59  # 20 ln 20


@pytest.mark.parametrize(
    ("settings", "length", "named"),
    [
        ({"modulus": 12}, 3, "modulus = 12"),
        ({"modulus": 3}, 3, "modulus = 3"),
        ({"modulus": 221}, 3, "modulus = 221"),
        ({"modulus": 257}, 3, "modulus = 257"),
        ({"operations": 1}, 3, "operations = 1"),
        ({"operations": 9, "modulus": 7}, 3, "operations = 9 .* from 2 to 8"),
        ({"contexts": 0}, 3, "contexts = 0"),
        ({"train_tasks": -1}, 3, "train_tasks = -1"),
        ({"secret": -1}, 3, "secret = -1"),
        ({"train_tasks": 64}, 3, "train_tasks = 64 .* length 3 has 64"),
        ({}, 2, "train_tasks = 16 .* length 2 has 16"),
        ({}, 32, "length = 32 .* 2\\^62"),
        ({}, 0, "length = 0"),
    ],
)
def test_refusals_name_the_option(settings: dict[str, object], length: int, named: str) -> None:
    refuses(ComposeArithmetic, settings, length, named)


@given(task=options(ComposeArithmetic), length=st.integers(1, 12), seed=seeds)
def test_options_combine(task: ComposeArithmetic, length: int, seed: int) -> None:
    batch = drawn(task, seed, length)
    assert [first_error(task, batch, row) for row in range(2)] == [None, None]


@pytest.mark.parametrize(
    "task",
    [
        ComposeArithmetic(operations=2, modulus=5, contexts=1, train_tasks=1, split="unseen"),
        ComposeArithmetic(operations=16, contexts=2, secret=3),
    ],
)
def test_contract(task: ComposeArithmetic) -> None:
    check(task)
