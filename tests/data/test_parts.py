"""Micro-batches of one part: whose turn it is, and that no row is seen twice."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.config import Experiment, TrainConfig
from lab.data.batches import batch_for_step
from lab.data.parts import alone, turns
from lab.data.position_ids import check_rows
from lab.data.size import row_tokens
from lab.experiments.mixture import experiment
from tasks import Role, Task
from tasks.mixture import Mixture
from tasks.parity import Parity
from tests.tasks.common import printed


def mixed(parts: str, **train: object) -> Experiment:
    base = experiment(parts=parts, length=4)
    config = dataclasses.replace(base.train, micro_batches="one_part", **train)  # type: ignore[arg-type]
    return dataclasses.replace(base, train=config)


@given(weights=st.lists(st.integers(1, 4), min_size=1, max_size=4), seed=st.integers(0, 99))
def test_every_part_has_its_turns(weights: list[int], seed: int) -> None:
    turn, period = turns(weights, seed), sum(weights)
    before: Counter[int] = Counter()
    for number in range(5 * period):
        part, own = turn(number)
        assert own == before[part], "the rows of a part are drawn in turn"
        before[part] += 1
        if (number + 1) % period == 0:
            assert all(before[p] == w * (number + 1) / period for p, w in enumerate(weights))
    again = turns(weights, seed)
    assert [again(i) for i in reversed(range(12))] == [turn(i) for i in reversed(range(12))]


def test_the_order_differs_from_period_to_period() -> None:
    turn = turns([1, 1, 1], 0)
    orders = {tuple(turn(3 * i + j)[0] for j in range(3)) for i in range(100)}
    assert len(orders) == 6


def test_a_micro_batch_is_of_one_part_and_no_row_comes_twice() -> None:
    e = mixed("parity k=2 length=18; copy symbols=20; sorting values=30", batch=24, grad_accum=4)
    draw, seen = batch_for_step(e), Counter[str]()
    of_part: Counter[str] = Counter()
    for step in range(12):
        batch = draw(step)
        assert len(batch) == 24 and (batch.roles != Role.PAD).any(0).all()
        rows = printed(e.task, batch)
        for start in range(0, 24, 6):
            (name,) = {row[0] for row in rows[start : start + 6]}
            of_part[name] += 1
        seen.update(" ".join(row) for row in rows)
    assert of_part == {"<parity>": 16, "<copy>": 16, "<sorting>": 16}
    assert max(seen.values()) == 1
    again = batch_for_step(e)  # as after a stop: any step first
    for step in (9, 2):
        assert np.array_equal(again(step).tokens, draw(step).tokens)


def test_two_settings_of_one_task_have_rows_of_their_own() -> None:
    e = mixed("parity k=2 length=30; parity k=2 length=30", batch=64, grad_accum=2)
    rows = {" ".join(row[1:]) for row in printed(e.task, batch_for_step(e)(0))}
    assert len(rows) == 64


def test_the_widest_part_counts() -> None:
    """For the table of positions and for memory, whatever part the first row is of."""
    task = Mixture(parts="parity k=2 weight=1000; copy length=50")
    assert row_tokens(task, 6) == 1 + 2 * 50 + 3
    e = experiment(parts=task.parts, length=6)
    e = dataclasses.replace(e, probes=e.probes[:1])  # not one of the wide part alone
    model = dataclasses.replace(e.model, position="learned", max_positions=60)
    with pytest.raises(ValueError, match=r"model\.max_positions = 60 .* at least 103"):
        check_rows(dataclasses.replace(e, model=model))


@pytest.mark.parametrize(
    ("task", "train", "message"),
    [
        (Parity(k=2), {}, "the rows of the task parity are of one part"),
        (Mixture(part="copy"), {}, "the rows of the task mixture are of one part"),
        (Mixture(), {"examples": 512}, "train.examples"),
        (Mixture(), {"objective": "grpo"}, "objective = grpo trains on completions"),
    ],
)
def test_refusals(task: Task, train: dict[str, object], message: str) -> None:
    base = experiment(length=6)
    with pytest.raises(ValueError, match=rf"^train\.micro_batches = 'one_part' .*{message}"):
        config = TrainConfig(lengths=(6,), micro_batches="one_part", **train)  # type: ignore[arg-type]
        dataclasses.replace(base, task=task, train=config)


def test_only_a_mixture_has_parts() -> None:
    assert alone(Parity(), 8) == []
    (one, two) = alone(Mixture(parts="parity length=9; copy", split="test"), 4)
    assert one == (Mixture(parts="parity length=9; copy", part="parity", split="test"), 9)
    assert two[1] == 4
