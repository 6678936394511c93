"""Turing Programs in general: layout, the plain simulator, and a program of one's own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.data.rows import Rows
from tasks import Role, load, names
from tasks._program import TuringProgram, history, replay, trace
from tasks._split import draw_digit
from tests.tasks.common import check, printed

PROGRAMS = [
    cls for cls in map(load, names()) if issubclass(cls, TuringProgram) and cls is not TuringProgram
]


@dataclass(frozen=True)
class Strip(TuringProgram):
    """Take the first token away until the tape starts with 1 or has one token: x 0 0 1 0 -> 1 0."""

    split: str = "train"

    @property
    def glyphs(self) -> tuple[str, ...]:
        return ("0", "1", "x")

    def chance(self, length: int) -> float:
        return 2.0 ** -(length - 1)

    def is_start(self, tape: list[int]) -> bool:
        return tape[:1] == [2] and len(tape) > 1 and max(tape[1:]) < 2

    def step(self, tape: list[int]) -> list[int] | None:
        return None if tape[0] == 1 or len(tape) == 1 else tape[1:]

    def start(self, rng: np.random.Generator, n: int, length: int) -> np.ndarray:
        tape = rng.integers(0, 2, (n, length + 1), np.uint8)
        tape[:, 0] = 2
        tape[:, -1] = draw_digit(rng, tape[:, 1:-1], 2, 1, self.split == "test")
        return tape

    def run(self, tape: np.ndarray) -> tuple[list[np.ndarray], np.ndarray | None]:
        stops = tape == 1
        stops[:, -1] = True
        return [tape[:, k:] for k in range(1, tape.shape[1])], stops.argmax(1)


def strip(tape: list[str]) -> list[str] | None:
    if tape[0] == "1" or len(tape) == 1:
        return None
    return tape[1:]


def test_a_program_of_ones_own_is_a_task() -> None:
    task = Strip()
    check(task)
    for row in printed(task, Rows(task, 6, 0)[0:500]):
        assert replay(row, strip) is None


def test_trace_stops_where_the_program_halts() -> None:
    assert trace([2, 0, 0, 1, 0], Strip().step) == [[0, 0, 1, 0], [0, 1, 0], [1, 0]]


def test_layout_of_fixed_rows() -> None:
    tapes = [np.array(tape, np.uint8) for tape in ([[1, 2]], [[3]], [[4, 5, 6]])]
    batch = history(tapes, None, bos=10)
    assert batch.tokens.tolist() == [[10, 1, 2, 12, 3, 12, 4, 5, 6, 11]]
    p, t, a = Role.PROMPT, Role.THOUGHT, Role.ANSWER
    assert batch.roles.tolist() == [[p, p, p, p, t, t, a, a, a, a]]


def test_layout_of_rows_that_end_early() -> None:
    tapes = [np.array(tape, np.uint8) for tape in ([[1]] * 3, [[2]] * 3, [[3]] * 3, [[4]] * 3)]
    batch = history(tapes, np.array([1, 2, 1]), bos=10)
    assert batch.tokens.tolist() == [
        [10, 1, 12, 2, 11, 0, 0],
        [10, 1, 12, 2, 12, 3, 11],
        [10, 1, 12, 2, 11, 0, 0],
    ]
    p, t, a = Role.PROMPT, Role.THOUGHT, Role.ANSWER
    short = [p, p, p, a, a, Role.PAD, Role.PAD]
    assert batch.roles.tolist() == [short, [p, p, p, t, t, a, a], short]


ROW = "BOS x 0 0 1 SEP 0 0 1 SEP 0 1 SEP 1 EOS"


@pytest.mark.parametrize(
    ("row", "wrong"),
    [
        (ROW, None),
        (ROW.replace("BOS ", ""), 0),
        (ROW.replace("BOS", "SEP"), 0),
        (ROW.replace("SEP 0 0 1", "SEP 0 1 1"), 1),
        (ROW.replace("SEP 0 0 1", "SEP 0 0 1 1"), 1),
        (ROW.replace("SEP 0 1", "SEP 1 1"), 2),
        (ROW.replace("SEP 0 1", "EOS 0 1"), 1),
        (ROW.replace(" 1 EOS", " 0 EOS"), 3),
        (ROW.replace(" EOS", ""), 3),
        (ROW.replace("EOS", "SEP"), 4),
        (ROW.replace("EOS", "SEP 1 EOS"), 4),
        ("BOS x 0 0 1 SEP 0 0 1 EOS", 2),
        ("BOS x 0 0 1 EOS", 1),
        ("BOS 1 EOS", 1),
        ("", 0),
    ],
)
def test_replay_finds_the_first_wrong_tape(row: str, wrong: int | None) -> None:
    assert replay(row.split(), strip) == wrong


def rule(task: TuringProgram) -> Callable[[list[str]], list[str] | None]:
    """The task's own step on printed tapes."""
    token = {word: i for i, word in enumerate(task.words)}

    def step(tape: list[str]) -> list[str] | None:
        after = task.step([token[word] for word in tape])
        return None if after is None else [task.words[t] for t in after]

    return step


def test_these_are_the_programs() -> None:
    class_names = {cls.__name__ for cls in PROGRAMS}
    assert class_names >= {"Addition", "Multiplication", "Sgd", "TuringMachine"}


@pytest.mark.parametrize("cls", PROGRAMS)
@given(length=st.integers(2, 20), seed=st.integers(0, 999))
def test_every_program_replays(cls: type[TuringProgram], length: int, seed: int) -> None:
    """And a step reads nothing but the tape before it: the same step replays rows of any length."""
    task = cls()
    step = rule(task)
    for row in printed(task, task.sample(np.random.default_rng(seed), 8, length)):
        assert replay(row, step) is None
        assert row[0] == "BOS" and row[-1] == "EOS" and row.count("EOS") == row.count("BOS") == 1


@pytest.mark.parametrize("cls", PROGRAMS)
def test_the_last_tape_of_a_run_is_the_answer(cls: type[TuringProgram]) -> None:
    """Also of rows that have halted before: `most_common` reads it there."""
    task = cls()
    first = task.start(np.random.default_rng(1), 300, 6)
    last = task.run(first)[0][-1].tolist()
    for prompt, answer in zip(first.tolist(), last, strict=True):
        assert task.solve([len(task.glyphs), *prompt, len(task.glyphs) + 2])[1] == [
            *answer,
            *task.stop,
        ]
    counts = Counter(map(tuple, last))
    assert task.most_common(first) == max(counts.values()) / 300


@pytest.mark.parametrize("cls", PROGRAMS)
def test_length_zero_is_refused(cls: type[TuringProgram]) -> None:
    with pytest.raises(ValueError, match="length = 0 cannot be used"):
        cls().sample(np.random.default_rng(0), 1, 0)
