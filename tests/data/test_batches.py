"""The batch of a step: fixed and fresh rows, lengths, and what the model sees."""

from __future__ import annotations

import dataclasses

import numpy as np

from lab.data.batches import batch_for_step
from tasks import Role
from tests.small import with_train


def test_a_fixed_set_is_seen_once_an_epoch() -> None:
    draw = batch_for_step(with_train(examples=100, batch=20, steps=100))
    epochs = [np.concatenate([draw(5 * e + i).tokens for i in range(5)]) for e in range(3)]
    tables = [np.unique(epoch, axis=0, return_counts=True) for epoch in epochs]
    for rows, counts in tables[1:]:
        assert np.array_equal(rows, tables[0][0]) and np.array_equal(counts, tables[0][1])
    assert not np.array_equal(epochs[0], epochs[1]), "epochs must be shuffled anew"


def test_every_length_is_drawn() -> None:
    draw = batch_for_step(with_train(lengths=(4, 5, 6), batch=2))
    widths = {draw(step).tokens.shape[1] for step in range(40)}
    assert widths == {4 + 3, 5 + 3, 6 + 3}


def test_without_cot_no_thought_is_left() -> None:
    bare = batch_for_step(dataclasses.replace(with_train(), cot=False))(0)
    assert set(np.unique(bare.roles)) == {Role.PROMPT, Role.ANSWER}
