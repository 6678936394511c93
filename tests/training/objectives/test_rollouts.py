"""Sampled completions follow the model's own distribution and depend on prompts alone."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from lab.config import Experiment
from lab.data.batches import batch_for_step
from lab.experiments.addition import experiment as addition
from lab.experiments.parity import experiment as parity
from lab.nn.model import make_model
from lab.training.objectives.rollouts import roll_out
from tasks import Batch, Role
from tests.enumerated import every_completion, letters, log_probability, sharp_model


def fit(temperature: float) -> float:
    """The p-value of 4,096 completions at a temperature under the model's own distribution."""
    e = letters(batch=256, samples=8, temperature=temperature)
    model = sharp_model(e)
    counts: Counter[tuple[int, ...]] = Counter()
    for step in range(2):
        rolled = roll_out(model, e, batch_for_step(e)(step), step)
        for row, own in zip(rolled.written, rolled.own, strict=True):
            counts[tuple(row[own].tolist())] += 1
    every = [tuple(c) for c in every_completion(e.task, 3)]
    assert set(counts) <= set(every)
    with torch.no_grad():
        p = np.array([float(log_probability(model, c).exp()) for c in every])
    assert p.sum() == pytest.approx(1)
    seen, common = np.array([counts[c] for c in every]), p * 4096 >= 5
    observed = [*seen[common], seen[~common].sum()]
    expected = [*p[common], p[~common].sum()]
    return float(chisquare(observed, np.array(expected) * 4096).pvalue)


def test_samples_at_temperature_1_follow_the_model() -> None:
    assert fit(1.0) > 0.001
    assert fit(1.5) < 1e-6  # the test can fail


SMALL: list[Experiment] = [addition(length=2), parity(k=2, length=6)]


@pytest.mark.parametrize("hints", [(), (0.5,)], ids=["no hint", "hint"])
@pytest.mark.parametrize("base", SMALL, ids=lambda e: e.name)
def test_a_completion_depends_on_its_prompt_alone(
    base: Experiment, hints: tuple[float, ...]
) -> None:
    """Prompt and hint: neither on the other tokens that the row's own oracle writes, nor on hidden
    values; with stop tokens not on what its tokens are for either. Hints are no own tokens."""
    train = dataclasses.replace(base.train, objective="grpo", batch=8, samples=4, reveal=hints)
    e = dataclasses.replace(base, train=train)
    model, batch = make_model(e), batch_for_step(e)(0)
    given, rng = batch.roles == Role.PROMPT, np.random.default_rng(0)
    tokens = np.where(given, batch.tokens, rng.integers(0, len(e.task.words), batch.tokens.shape))
    roles = batch.roles
    if e.task.stop:
        roles = np.where(given, roles, np.uint8(Role.ANSWER))
    other = Batch(tokens, roles, rng.integers(0, 2, (len(batch), 1)))
    one, two = (roll_out(model, e, rows, 3) for rows in (batch, other))
    assert (one.own == two.own).all() and (one.written == two.written)[one.own].all()
    each = np.repeat(given, 4, 0)
    assert not one.own[each].any()
    assert (one.written[each] == np.repeat(batch.tokens, 4, 0)[each]).all()
    again = roll_out(model, e, batch, 4)
    assert (one.written != again.written).any()


@pytest.mark.parametrize("base", SMALL, ids=lambda e: e.name)
def test_own_tokens_are_those_up_to_the_stop(base: Experiment) -> None:
    e = dataclasses.replace(base, train=dataclasses.replace(base.train, objective="grpo", batch=16))
    batch = batch_for_step(e)(0)
    rolled = roll_out(make_model(e), e, batch, 0)
    stops, lengths = set(e.task.stop), set()
    for i, (row, own) in enumerate(zip(rolled.written.tolist(), rolled.own.tolist(), strict=True)):
        roles = batch.roles[i // e.train.samples].tolist()
        ended = False
        for token, mine, role in zip(row, own, roles, strict=True):
            wanted = not ended and (role != Role.PROMPT if stops else role not in (0, Role.PROMPT))
            assert mine == wanted
            ended |= mine and token in stops
        lengths.add(sum(own))
    assert rolled.room == max(lengths) and 0 < rolled.entropy <= np.log(len(e.task.words))
    inputs = rolled.inputs(torch.device("cpu"), np.array([1, 0]))
    assert (inputs.supervised.sum(1).numpy() == rolled.own[[1, 0]].sum(1)).all()
