"""Random Turing machines against a plain simulator; how machines are drawn; splits."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.testing import options
from tasks._program import replay
from tasks._split import held_out
from tasks.turing_machine import TuringMachine
from tests.tasks.common import check, many, printed

SMALL = TuringMachine(symbols=2, states=3, steps=5, machines=2, secret=3)
OTHERS = [
    TuringMachine(),
    SMALL,
    TuringMachine(machines=10, secret=4, split="test"),
    TuringMachine(states=1, symbols=2),
    TuringMachine(states=9, symbols=12, steps=40, machines=30, halting=0.3),
    TuringMachine(states=2, steps=1),
    TuringMachine(block=3),
    TuringMachine(symbols=26, states=1, steps=4, machines=2, block=2, split="test"),
]


def rows(task: TuringMachine, n: int, length: int, seed: int = 1) -> list[list[str]]:
    return printed(task, task.sample(np.random.default_rng(seed), n, length))


class Machine:
    """A dictionary of rules and a dictionary of cells; knows printed tapes only."""

    def __init__(self, task: TuringMachine) -> None:
        names = [*(chr(ord("A") + s) for s in range(task.states)), "!"]
        self.rules = {
            (f"M{i}", names[state], str(symbol)): (str(rule.write), rule.move, names[rule.state])
            for i in range(task.machines)
            for state, row in enumerate(task.rules(i))
            for symbol, rule in enumerate(row)
        }

    def __call__(self, tape: list[str]) -> list[str] | None:
        named = tape[0].startswith("M")
        front, clock, cells = tape[:named], int(tape[named][1:]), dict(enumerate(tape[named + 1 :]))
        (head,) = (place for place, word in cells.items() if not word.isdigit())
        state, symbol = cells[head][0], cells[head][1:]
        if state == "!" or clock == 0:
            return None
        write, move, state = self.rules[front[0] if named else "M0", state, symbol]
        cells[head] = write
        head = head + move if head + move in cells else head
        cells[head] = state + cells[head]
        return [*front, f"t{clock - 1}", *cells.values()]


def test_worked_example() -> None:
    task = TuringMachine()
    token = {word: i for i, word in enumerate(task.words)}
    prompt = ["BOS", "t16", "2", "0", "A1", "1", "0", "SEP"]
    thought, answer = task.solve([token[word] for word in prompt])
    told = " ".join(task.words[t] for t in thought)
    assert told == "t15 2 B0 0 1 0 SEP t14 2 0 D0 1 0 SEP t13 2 C0 1 1 0 SEP"
    assert " ".join(task.words[t] for t in answer) == "t12 2 2 !1 1 0 EOS"
    assert (task.rules()[0][1], task.rules()[2][0]) == ((0, -1, 1), (2, 1, 4))


@pytest.mark.parametrize("task", OTHERS)
@pytest.mark.parametrize("length", [2, 5, 16])
def test_rows_replay_in_a_plain_simulator(task: TuringMachine, length: int) -> None:
    machine = Machine(task)
    for row in rows(task, 600, length):
        assert replay(row, machine) is None, " ".join(row)
        tapes = " ".join(row[1:-1]).split(" SEP ")
        first = tapes[0].split()
        assert f"t{task.steps}" in first and sum(word[0] == "A" for word in first) == 1
        assert len(first) == length + 1 + (task.machines > 1)


def test_every_single_token_mutation_is_noticed() -> None:
    rng = np.random.default_rng(2)
    for task in (TuringMachine(steps=8), SMALL):
        machine = Machine(task)
        for row in rows(task, many(1000), 5):
            for place in range(row.index("SEP") + 1, len(row)):
                others = [word for word in task.words if word != row[place]]
                mutant = [*row[:place], others[rng.integers(len(others))], *row[place + 1 :]]
                assert replay(mutant, machine) is not None, " ".join(mutant)


@given(task=options(TuringMachine), length=st.integers(2, 20), seed=st.integers(0, 999))
def test_a_step_replaces_at_most_3_tokens(task: TuringMachine, length: int, seed: int) -> None:
    for row in rows(task, 10, length, seed):
        tapes = [part.split() for part in " ".join(row[1:-1]).split("SEP")]
        for one, two in itertools.pairwise(tapes):
            assert sum(x != y for x, y in zip(one, two, strict=True)) <= 3
        assert replay(row, Machine(task)) is None


@pytest.mark.parametrize("task", OTHERS)
def test_how_machines_are_drawn(task: TuringMachine) -> None:
    S, K = task.states, task.symbols
    seen = set()
    for secret in range(30):
        rules = dataclasses.replace(task, secret=secret).rules()
        seen.add(rules)
        assert len(rules) == S and all(len(row) == K for row in rules)
        graph = nx.DiGraph([(s, rule.state) for s, row in enumerate(rules) for rule in row])
        assert all(0 <= r.write < K and r.move in (-1, 1) for row in rules for r in row)
        assert all(rule.state != S for rule in rules[0])
        halting = sum(rule.state == S for row in rules for rule in row)
        assert halting == min(round(task.halting * S * K), (S - 1) * (K - 1))
        graph.remove_nodes_from([S])
        assert nx.is_strongly_connected(graph) and set(graph) == set(range(S))
    if S > 1:  # one state and two symbols allow for a few machines only
        assert len(seen) == len({task.rules(machine) for machine in range(30)}) == 30


def test_runs_are_of_many_lengths() -> None:
    """What the docstring says of the default sizes, on fewer secrets and rows."""
    halted, means, back = [], [], []
    for secret in range(60):
        task = TuringMachine(secret=secret)
        runs = [
            [part.split()[1:] for part in " ".join(row[1:-1]).split("SEP")]
            for row in rows(task, 200, 16, secret)
        ]
        halted.append(np.mean(["!" in " ".join(run[-1]) for run in runs]))
        means.append(np.mean([len(run) - 1 for run in runs]))
        back.append(np.mean([len(set(map(tuple, run))) < len(run) for run in runs]))
        assert min(len(run) - 1 for run in runs) >= 2
    assert np.median(halted) == pytest.approx(0.56, abs=0.08)
    assert np.median(means) == pytest.approx(10.9, abs=0.8)
    assert np.quantile(halted, 0.1) > 0.25 and np.quantile(halted, 0.9) < 0.85
    assert np.median(back) < 0.2
    default = [row.count("SEP") for row in rows(TuringMachine(), 1000, 16)]
    assert 0.3 < np.mean(np.array(default) == 16) < 0.7 and len(set(default)) > 10


def unit_is_held_out(task: TuringMachine, prompt: list[str]) -> bool:
    """Membership again, from the printed row alone."""
    named = task.machines > 1
    tape = prompt[1:-1]
    machine = int(tape[0][1:]) if named else 0
    cells = tape[named + 1 :]
    head = next(i for i, word in enumerate(cells) if word[0] == "A")
    symbols = [int(word.removeprefix("A")) for word in cells][: task.block or len(cells)]
    leading = next((i for i in range(1, len(symbols)) if task.symbols**i >= 256), len(symbols))
    digit = sum(s * task.symbols**i for i, s in enumerate(symbols[:leading]))
    rest = np.array([[*symbols[leading:], head, machine]])
    size = task.symbols**leading
    return bool(held_out(np.array([digit]), rest, size, max(1, size // 16))[0])


@pytest.mark.parametrize("task", OTHERS)
def test_membership_is_a_function_of_the_row(task: TuringMachine) -> None:
    for split, length in itertools.product(("train", "test"), (2, 7, 20)):
        for row in rows(dataclasses.replace(task, split=split), 200, length):
            assert unit_is_held_out(task, row[: row.index("SEP") + 1]) == (split == "test")


BLOCKS = [TuringMachine(steps=4, block=1), TuringMachine(symbols=17, states=1, block=2)]


@pytest.mark.parametrize("task", [SMALL, TuringMachine(steps=4), *BLOCKS])
def test_splits_divide_all_tapes(task: TuringMachine) -> None:
    """By enumeration of 3 cells. Rows are uniform within a split, and `chance` is exact."""
    K, token = task.symbols, {word: i for i, word in enumerate(task.words)}
    drawn, every = task.block or 3, set()
    for block in itertools.product(map(str, range(K)), repeat=drawn):
        cells = (block * 3)[:3]
        for head, machine in itertools.product(range(3), range(task.machines)):
            tape = [*cells[:head], "A" + cells[head], *cells[head + 1 :]]
            front = [f"M{machine}"] if task.machines > 1 else []
            every.add(("BOS", *front, f"t{task.steps}", *tape, "SEP"))
    by_split = []
    for split in ("train", "test"):
        own = dataclasses.replace(task, split=split)
        counts = Counter(tuple(row[: row.index("SEP") + 1]) for row in rows(own, 6000, 3))
        mean = counts.total() / len(counts)
        assert max(abs(count - mean) for count in counts.values()) < 5 * mean**0.5
        by_split.append(set(counts))
        results = Counter(tuple(own.solve([token[w] for w in unit])[1]) for unit in counts)
        assert own.chance(3) == pytest.approx(max(results.values()) / len(counts))
    assert by_split[0] | by_split[1] == every and not by_split[0] & by_split[1]
    assert len(by_split[1]) * K**drawn == len(every) * max(1, K**drawn // 16)


@given(task=options(TuringMachine), length=st.integers(2, 30), seed=st.integers(0, 999))
def test_a_first_tape_repeats_its_block(task: TuringMachine, length: int, seed: int) -> None:
    for row in rows(task, 10, length, seed):
        front = 2 + (task.machines > 1)  # BOS, the machine, the clock
        cells = [word.removeprefix("A") for word in row[front : front + length]]
        if task.block:
            assert all(cell == cells[i % task.block] for i, cell in enumerate(cells))


def test_words() -> None:
    task = TuringMachine(states=2, symbols=2, steps=2)
    cells = ("0", "1", "A0", "A1", "B0", "B1", "!0", "!1")
    assert task.words == (*cells, "t0", "t1", "t2", "BOS", "EOS", "SEP")
    two = dataclasses.replace(task, machines=2)
    assert two.words == (*cells, "t0", "t1", "t2", "M0", "M1", "BOS", "EOS", "SEP")
    for other in OTHERS:
        assert len(set(other.words)) == len(other.words)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"states": 0}, "states = 0 cannot be used: from 1 to 26"),
        ({"states": 27}, "states = 27 cannot be used"),
        ({"symbols": 1}, "symbols = 1 cannot be used: from 2 to 26"),
        ({"steps": 0}, "steps = 0 cannot be used: from 1 to 10000"),
        ({"machines": 0}, "machines = 0 cannot be used: from 1 to 1000"),
        ({"halting": 1.5}, "halting = 1.5 cannot be used: a share from 0 to 1"),
        ({"block": -1}, "block = -1 cannot be used: a whole number from 0"),
        ({"secret": -1}, "secret = -1 cannot be used: a whole number from 0"),
        ({"split": "dev"}, "split = 'dev' cannot be used"),
    ],
)
def test_bad_options_are_refused(bad: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TuringMachine(**bad)  # type: ignore[arg-type]


@pytest.mark.parametrize("length", [-1, 0, 1])
def test_bad_lengths_are_refused(length: int) -> None:
    with pytest.raises(ValueError, match=f"length = {length} cannot be used: at least"):
        TuringMachine().sample(np.random.default_rng(0), 1, length)


@pytest.mark.parametrize(
    "task", [SMALL, TuringMachine(machines=10, split="test"), TuringMachine(block=2)]
)
def test_contract(task: TuringMachine) -> None:
    check(task)
