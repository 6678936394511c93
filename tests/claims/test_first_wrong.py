"""The place of the first wrong token of a thought, on rows that are made wrong by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.claims._first_wrong import FirstWrong, first_wrong
from lab.config import Experiment, ModelConfig, Probe, TrainConfig
from lab.evaluation.decode import compare
from tasks import Role, Task
from tasks.addition import Addition
from tasks.multiplication import Multiplication
from tasks.turing_machine import TuringMachine
from tests.claim_results import with_accuracy

TASKS = [Addition(), Multiplication(2, 16), TuringMachine(states=1, symbols=26, steps=4)]


def place(task: Task, length: int, number: float | None) -> FirstWrong | None:
    experiment = Experiment(
        "program", task, True, ModelConfig(), TrainConfig(), (Probe("held out", length),)
    )
    result = with_accuracy(experiment, 0.0)
    return first_wrong(result, replace(result.scores[0], first_error=number))


@pytest.mark.parametrize("task", TASKS)
@given(length=st.integers(2, 9), seed=st.integers(0, 99), data=st.data())
def test_the_place_is_that_of_the_token_that_was_changed(
    task: Task, length: int, seed: int, data: st.DataObject
) -> None:
    batch = task.sample(np.random.default_rng(seed), 1, length)
    columns = np.flatnonzero(batch.roles[0] == Role.THOUGHT)
    column = data.draw(st.sampled_from(columns.tolist()))
    written = batch.tokens.copy()
    written[0, column] += 1
    *_, first = compare(task, batch, written)
    found = place(task, length, float(first[0]))
    row = [task.words[t] for t in batch.tokens[0]]
    tapes = " ".join(row).split("SEP")[1:]
    assert found and found.tokens == len(tapes[found.tape - 1].split()) + 1
    before = sum(len(tape.split()) + 1 for tape in tapes[: found.tape - 1])
    assert row.index("SEP") + before + found.token == column


def test_the_worked_example() -> None:
    """BOS 432+013 SEP 43c+01d+a5 SEP 4d+0b+a45 SEP e+a+a445 SEP 0445 EOS"""
    assert place(Addition(), 3, 3.0) == (1, 4, 11)
    assert place(Addition(), 3, 3.5) == (1, 4, 11), "a median between two tokens: the first one"
    assert place(Addition(), 3, 10.0) == (1, 11, 11), "the SEP"
    assert place(Addition(), 3, 11.0) == (2, 1, 10)
    assert place(Addition(), 3, None) is None
