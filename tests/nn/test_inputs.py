"""train.offset: the places of a training row start further on, at random."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from lab.config import Experiment, ModelConfig, Probe, TrainConfig
from lab.data.batches import batch_for_step
from lab.data.position_ids import position_ids
from lab.experiments.mixture import experiment as mixture
from lab.nn.inputs import shift_positions, to_torch
from lab.nn.model import make_model
from tasks.copy import Copy

CPU = torch.device("cpu")


def experiment(position: str, offset: int = 6, tokens: int = 40) -> Experiment:
    return Experiment(
        name="x",
        task=Copy(),
        cot=False,
        model=ModelConfig(width=16, position=position, max_positions=tokens),  # type: ignore[arg-type]
        train=TrainConfig(steps=3, batch=256, lengths=(3, 5), offset=offset),
        probes=(Probe("held out", 5, {"split": "test"}, 8),),
    )


@pytest.mark.parametrize("position", ["learned", "coupled", "predicted"])
def test_each_row_moves_by_a_number_of_its_own(position: str) -> None:
    e = experiment(position)
    batch = batch_for_step(e)(0)
    inputs = to_torch(e.task, e.model, batch, CPU)
    ids = shift_positions(inputs, e.train, 0)
    own = position_ids(e.task, e.model, batch)
    start = torch.arange(ids.shape[1]) if own is None else torch.from_numpy(own)
    by = ids - start
    assert (by == by[:, :1]).all(), "all tokens of a row alike"
    assert sorted(set(by[:, 0].tolist())) == list(range(7)), "0 to 6, both in reach"
    assert torch.equal(shift_positions(inputs, e.train, 0), ids), "of seed and step alone"
    assert not torch.equal(shift_positions(inputs, e.train, 1), ids)
    other = replace(e.train, seed=1)
    assert not torch.equal(shift_positions(inputs, other, 0), ids)


def test_learned_places_are_read_where_they_are_moved_to() -> None:
    e = experiment("learned")
    model = make_model(e)
    tokens = torch.arange(12).view(2, 6)
    ids = torch.arange(6) + torch.tensor([[0], [9]])
    x = model._read(tokens, 0, ids)
    assert torch.equal(x[0], model._read(tokens[:1], 0, None)[0])
    assert torch.equal(x[1], model.embed(tokens[1]) + model.place.weight[9:15])
    with pytest.raises(ValueError, match=r"model\.max_positions = 40 .* at least 41"):
        model._read(tokens, 0, ids + 26)


@pytest.mark.parametrize("position", ["learned", "predicted"])
def test_training_trains_the_places_that_it_moves_to(position: str) -> None:
    from lab.training.loop import train
    from lab.training.optim import build

    def touched(offset: int) -> set[int]:
        e = experiment(position, offset)
        model = make_model(e)
        before = model.place.weight.detach().clone()
        for _ in train(e, model, build(model, e.train), 0, CPU):
            pass
        return set((model.place.weight != before).any(1).nonzero()[:, 0].tolist())

    # The last token of a row is never read: 5 symbols take 12 places, or ids 1 to 6 when coupled.
    first, last = (0, 11) if position == "learned" else (1, 6)
    assert touched(0) == set(range(first, last + 1))
    assert touched(20) == set(range(first, last + 21))


@pytest.mark.parametrize("position", ["rope", "none", "alibi", "sinusoidal"])
def test_models_without_a_table_refuse_it(position: str) -> None:
    with pytest.raises(ValueError, match=r"train\.offset = 6 .* has no table of positions"):
        replace(experiment("learned"), model=ModelConfig(position=position))  # type: ignore[arg-type]


def test_parts_are_cut_to_their_longest_row() -> None:
    e = mixture(parts="copy symbols=3; parity k=2 length=2")
    batch = e.task.sample(np.random.default_rng(0), 40, 5)
    batch = batch[np.argsort(e.task.part_of(batch), kind="stable")]
    whole = to_torch(e.task, e.model, batch, CPU)
    for number in (1, 3, 40):
        rows = [len(part.tokens) for part in whole.parts(number)]
        start = 0
        for size, part in zip(rows, whole.parts(number, cut=True), strict=True):
            own = batch[np.arange(start, start + size)]
            assert part.tokens.tolist() == own.tokens.tolist()
            same = to_torch(e.task, e.model, own, CPU)
            assert torch.equal(part.supervised, same.supervised)
            start += size
        assert start == 40
