"""In-context SGD replayed with decimals, its data, and splits by enumeration."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from decimal import ROUND_HALF_UP, Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.data.rows import Rows
from lab.testing import options
from tasks import Role
from tasks._program import replay
from tasks._split import held_out
from tasks.sgd import Sgd
from tests.tasks.common import check, edits, many

SMALL = Sgd(dimension=1, inputs=1, limit=4, fraction=1, rate=1, noise=0)
OTHERS = [
    Sgd(),
    SMALL,
    Sgd(dimension=3, inputs=3, limit=20, fraction=3, rate=2, noise=4, split="test"),
    Sgd(dimension=1, inputs=5, limit=150, fraction=0, rate=5, noise=0),
    Sgd(dimension=4, inputs=2, limit=6, fraction=1, rate=8, noise=6),
]


def printed(task: Sgd, n: int, length: int, seed: int = 1) -> list[list[str]]:
    words, batch = task.words, task.sample(np.random.default_rng(seed), n, length)
    return [[words[t] for t in tokens] for tokens in batch.tokens.tolist()]


def whole(value: Decimal) -> Decimal:
    """Decimal calls it half up when halves go away from zero."""
    return value.quantize(Decimal(1), ROUND_HALF_UP)


class Simulator:
    """One step on printed tapes, in decimals: real weights, rounded to the grid by name."""

    def __init__(self, task: Sgd) -> None:
        self.unit, self.rate = Decimal(2) ** -task.fraction, Decimal(2) ** -task.rate
        self.most = Decimal(task.limit)

    def clip(self, value: Decimal) -> Decimal:
        return min(max(value, -self.most), self.most)

    def __call__(self, tape: list[str]) -> list[str] | None:
        *samples, end = " ".join(tape).split(" ; ")
        if not samples:
            return end.split(" > ")[1].split() if ">" in end else None
        inputs, _, label = samples[0].partition(" : ")
        x = [Decimal(word) for word in inputs.split()]
        weights = [Decimal(word) * self.unit for word in end.split(" > ")[-1].split()]
        guess = whole(sum((w * v for w, v in zip(weights, x, strict=True)), Decimal(0)))
        residual = self.clip(Decimal(label) - guess)
        change = [whole(self.rate * residual * v / self.unit) for v in x]
        counts = [self.clip(w / self.unit + c) for w, c in zip(weights, change, strict=True)]
        numbers = [f"{int(v):+d}" if v else "0" for v in (residual, *counts)]
        return " ; ".join([*samples[1:], " > ".join([numbers[0], " ".join(numbers[1:])])]).split()


def test_worked_example() -> None:
    task = Sgd()
    token = {word: i for i, word in enumerate(task.words)}
    prompt = "BOS +2 -1 : +9 ; 0 +2 : -4 ; 0 0 SEP"
    thought, answer = task.solve([token[word] for word in prompt.split()])
    told = " ".join(task.words[t] for t in thought)
    assert told == "0 +2 : -4 ; +9 > +9 -5 SEP -1 > +9 -6 SEP"
    assert " ".join(task.words[t] for t in answer) == "+9 -6 EOS"


@pytest.mark.parametrize("task", OTHERS)
@pytest.mark.parametrize("length", [2, 10])
def test_rows_replay_in_decimals(task: Sgd, length: int) -> None:
    simulator = Simulator(task)
    for row in printed(task, 1000, length):
        assert replay(row, simulator) is None, " ".join(row)
        assert row.count("SEP") == length + 1
        assert row[row.index("SEP") - task.dimension : row.index("SEP")] == ["0"] * task.dimension


def test_every_single_token_mutation_is_noticed() -> None:
    task, rng = Sgd(), np.random.default_rng(2)
    simulator = Simulator(task)
    for row in printed(task, many(1000), 3):
        for place in range(row.index("SEP") + 1, len(row)):
            others = [word for word in task.words if word != row[place]]
            mutant = [*row[:place], others[rng.integers(len(others))], *row[place + 1 :]]
            assert replay(mutant, simulator) is not None, " ".join(mutant)


@given(length=st.integers(1, 20), dimension=st.integers(1, 4), seed=st.integers(0, 999))
def test_a_step_takes_at_most_2_dimension_plus_5_edits(
    length: int, dimension: int, seed: int
) -> None:
    for row in printed(Sgd(dimension=dimension), 2, length, seed):
        tapes = [part.split() for part in " ".join(row[1:-1]).split("SEP")]
        assert max(map(edits, tapes, tapes[1:])) <= 2 * dimension + 5


def samples(row: list[str]) -> list[tuple[list[int], int]]:
    parts = " ".join(row[1 : row.index("SEP")]).split(" ; ")[:-1]
    fields = (part.split(" : ") for part in parts)
    return [([int(v) for v in inputs.split()], int(label)) for inputs, label in fields]


def test_labels_come_from_one_weight_vector() -> None:
    """Some weights on the grid explain all labels of a row; the noise is as large as allowed."""
    for task in (Sgd(noise=0), Sgd(noise=2, limit=10)):
        grid = np.array(list(itertools.product(range(-task.limit, task.limit + 1), repeat=2)))
        used = set()
        for row in printed(task, 300, 12):
            x, y = map(np.array, zip(*samples(row), strict=True))
            product = grid @ x.T / 2**task.fraction
            exact = np.trunc(product + np.copysign(0.5, product))
            low = np.clip(exact - task.noise, -task.limit, task.limit)
            high = np.clip(exact + task.noise, -task.limit, task.limit)
            assert ((low <= y) & (y <= high)).all(1).any()
            used |= set(np.abs(y[(x == 0).all(1)]).tolist())
        assert used == set(range(task.noise + 1))


@pytest.mark.parametrize("split", ["train", "test"])
def test_inputs_are_uniform_in_both_splits(split: str) -> None:
    task, n = Sgd(split=split), 20_000
    tokens = task.sample(np.random.default_rng(3), n, 4).tokens - task.limit
    for sample in range(4):
        x = tokens[:, 1 + 5 * sample :][:, :2]
        assert np.abs(x).max() == 2
        counts = np.bincount((x[:, 0] + 2) * 5 + x[:, 1] + 2, minlength=25)
        assert np.abs(counts - n / 25).max() < 5 * (n / 25) ** 0.5


def test_the_weights_approach_the_labels() -> None:
    """Sanity of the algorithm: late residuals are far smaller than early ones."""
    rows = printed(Sgd(), 500, 20)
    tapes = [" ".join(row).split("SEP") for row in rows]
    early, late = (
        np.mean([abs(int(history[k].split(" > ")[0].split()[-1])) for history in tapes])
        for k in (1, 20)
    )
    assert late < 0.4 * early


def unit_is_held_out(task: Sgd, prompt: tuple[int, ...], length: int) -> bool:
    """Membership again, from the row alone: first inputs against the other samples."""
    d, block, size = task.dimension, task.dimension + 3, (2 * task.inputs + 1) ** task.dimension
    body = prompt[1 : 1 + length * block]
    parts = [body[i : i + block] for i in range(0, len(body), block)]
    digit = sum(
        (token - task.limit + task.inputs) * (2 * task.inputs + 1) ** j
        for j, token in enumerate(parts[0][:d])
    )
    rest = [token for part in parts[1:] for token in (*part[:d], part[d + 1])]
    return bool(held_out(np.array([digit]), np.array([rest]), size, max(1, size // 16))[0])


def test_splits_divide_all_rows() -> None:
    """By enumeration: every row that some weights explain is in exactly one split."""
    token = {word: i for i, word in enumerate(SMALL.words)}
    every = set()
    for w, x1, x2 in itertools.product(range(-4, 5), (-1, 0, 1), (-1, 0, 1)):
        y1, y2 = (int(whole(Decimal(w * x) / 2)) for x in (x1, x2))
        text = f"BOS {x1} : {y1} ; {x2} : {y2} ; 0 SEP".split()
        signed = (f"{int(t):+d}" if t.lstrip("-").isdigit() and t != "0" else t for t in text)
        every.add(tuple(token[word] for word in signed))
    by_split = []
    for split in ("train", "test"):
        task = dataclasses.replace(SMALL, split=split)
        rows = task.sample(np.random.default_rng(4), 5000, 2).tokens[:, :11].tolist()
        by_split.append({tuple(row) for row in rows})
        assert all(unit_is_held_out(task, row, 2) == (split == "test") for row in by_split[-1])
    assert by_split[0] | by_split[1] == every and not by_split[0] & by_split[1]


def test_membership_is_a_function_of_the_row() -> None:
    for task in OTHERS:
        for split in ("train", "test"):
            own = dataclasses.replace(task, split=split)
            prompt = 2 + 5 * (task.dimension + 3) + task.dimension
            for row in Rows(own, 5, 5)[0:200].tokens[:, :prompt].tolist():
                assert unit_is_held_out(own, tuple(row), 5) == (split == "test")


@pytest.mark.parametrize("task", [SMALL, Sgd(inputs=1, limit=5, noise=2)])
def test_chance_of_one_sample_is_exact(task: Sgd) -> None:
    results = Counter[tuple[int, ...]]()
    d, R = task.dimension, task.limit
    spread = range(-R, R + 1), range(-task.inputs, task.inputs + 1)
    for w in itertools.product(spread[0], repeat=d):
        for x in itertools.product(spread[1], repeat=d):
            product = sum(a * b for a, b in zip(w, x, strict=True))
            exact = int(whole(Decimal(product) / 2**task.fraction))
            for error in range(-task.noise, task.noise + 1):
                y = max(-R, min(R, exact + error))
                tape = [*(v + R for v in x), 2 * R + 1, y + R, 2 * R + 2, *[R] * d]
                results[tuple(task.solve([len(task.glyphs), *tape, len(task.glyphs) + 2])[1])] += 1
    assert task.chance(1) == pytest.approx(max(results.values()) / results.total())


def test_one_sample_cannot_be_held_out() -> None:
    assert Sgd().sample(np.random.default_rng(0), 1, 1).roles[0, -1] == Role.ANSWER
    with pytest.raises(ValueError, match="length = 1 cannot be used: at least 2"):
        Sgd(split="test").sample(np.random.default_rng(0), 1, 1)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"dimension": 0}, "dimension = 0 cannot be used: from 1 to 8"),
        ({"dimension": 9}, "dimension = 9 cannot be used"),
        ({"limit": 1}, "limit = 1 cannot be used: from 2 to 1000"),
        ({"inputs": 0}, "inputs = 0 cannot be used: from 1 to limit = 16"),
        ({"inputs": 17}, "inputs = 17 cannot be used"),
        ({"fraction": 9}, "fraction = 9 cannot be used: from 0 to 8 bits"),
        ({"rate": -1}, "rate = -1 cannot be used: from 0 to 8 bits"),
        ({"noise": 17}, "noise = 17 cannot be used: from 0 to limit = 16"),
        ({"split": "dev"}, "split = 'dev' cannot be used"),
    ],
)
def test_bad_options_are_refused(bad: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sgd(**bad)  # type: ignore[arg-type]


@given(task=options(Sgd), length=st.integers(2, 12), seed=st.integers(0, 999))
def test_options_combine(task: Sgd, length: int, seed: int) -> None:
    simulator = Simulator(task)
    for row in printed(task, 5, length, seed):
        assert replay(row, simulator) is None


@pytest.mark.parametrize("task", [SMALL, Sgd(dimension=3, split="test")])
def test_contract(task: Sgd) -> None:
    check(task)
