"""Sampling: Pass@k against all subsets, votes against a Counter, draws against softmax."""

from __future__ import annotations

import dataclasses
from collections import Counter
from itertools import combinations
from math import comb
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.config import Experiment, ModelConfig, Probe
from lab.config.experiment import change
from lab.data.batches import visible
from lab.data.rows import Rows
from lab.evaluation.decode import answers, decode
from lab.evaluation.sampling import (
    _draw,
    majority,
    numbered,
    over_prompts,
    pass_at,
    sample,
    sampler,
)
from lab.evaluation.score import ROWS_AT_ONCE
from lab.experiments._any import for_task
from lab.nn.model import State, make_model
from lab.stats import wilson
from tasks import load
from tasks.parity import Parity


@pytest.mark.parametrize("n", range(1, 9))
def test_pass_at_k_is_the_share_of_subsets_with_a_right_one(n: int) -> None:
    for c in range(n + 1):
        drawn = [i < c for i in range(n)]
        for k in range(1, n + 1):
            hits = [any(some) for some in combinations(drawn, k)]
            assert pass_at(n, c, k) == pytest.approx(sum(hits) / len(hits), abs=1e-12)


@given(st.lists(st.sampled_from([None, "a", "b", "c", "d"]), min_size=1, max_size=9))
def test_the_vote_goes_to_the_most_frequent_answer(found: list[str | None]) -> None:
    (chosen,) = majority(np.array([numbered(found)]))
    counts = Counter(own for own in found if own is not None)
    if not counts:
        assert chosen == -1
    else:
        assert found[chosen] == counts.most_common(1)[0][0]
        assert chosen == found.index(found[chosen])


def test_votes_are_counted_within_a_prompt() -> None:
    number = np.array([[0, 1, 1], [0, 1, 2], [-1, 0, -1], [-1, -1, -1]])
    assert majority(number).tolist() == [1, 0, 1, -1]


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_draws_follow_the_softmax(temperature: float) -> None:
    """Chi-square with 5 degrees of freedom; its 1e-4 quantile is 25.7."""
    logits, T = torch.tensor([0.0, 1.0, -0.5, 0.7, 0.2, 1.3]), 60
    pick = sampler(np.random.default_rng(3), T, temperature)
    rows = np.arange(ROWS_AT_ONCE)
    batch = logits.expand(len(rows), -1)
    drawn = np.concatenate([pick(batch, rows, t) for t in range(T)])
    p = np.exp(logits.double().numpy() / temperature)
    wanted = len(drawn) * p / p.sum()
    assert ((np.bincount(drawn, minlength=6) - wanted) ** 2 / wanted).sum() < 25.7


def test_what_cannot_be_is_not_drawn() -> None:
    pick = sampler(np.random.default_rng(0), 40, 5.0)
    logits = torch.tensor([[-torch.inf, 0.0, -1e5, 0.0, -torch.inf]]).expand(ROWS_AT_ONCE, -1)
    drawn = np.concatenate([pick(logits, np.arange(ROWS_AT_ONCE), t) for t in range(40)])
    assert set(drawn) == {1, 3}


@given(st.integers(0, 99), st.sets(st.integers(0, ROWS_AT_ONCE - 1), min_size=1, max_size=9))
@settings(max_examples=30)
def test_a_draw_depends_on_its_row_and_place_alone(seed: int, rows: set[int]) -> None:
    logits = torch.zeros(ROWS_AT_ONCE, 50)
    every = np.arange(ROWS_AT_ONCE)
    long, short = (sampler(np.random.default_rng(seed), T, 1.0) for T in (30, 7))
    some = np.array(sorted(rows))
    assert (long(logits, every, 5)[some] == short(logits[: len(some)], some, 5)).all()
    assert (long(logits, every, 5) != long(logits, every, 6)).any()


def untrained(name: str, **options: str) -> Experiment:
    e = for_task(load(name))()
    for path, value in {"model.width": "16", **options}.items():
        e = change(e, path.replace("__", "."), value)
    return e


@pytest.mark.parametrize("name", ["parity", "istree", "addition", "compose_parity"])
def test_hardly_any_temperature_is_greedy(name: str) -> None:
    e = untrained(name)
    model = make_model(e).eval()
    with torch.no_grad():
        model.head.weight.mul_(30)  # far from ties
    probe = e.probes[0]
    batch = e.task.scored_part(visible(e, Rows(e.task, probe.length, 1)[0:24]))
    pick = sampler(np.random.default_rng(0), batch.tokens.shape[1], 1e-300)
    assert np.array_equal(decode(model, e.task, batch, pick), decode(model, e.task, batch))


class Coin(torch.nn.Module):
    """Says 1 with probability p at temperature 1, whatever it reads."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.logits = torch.nn.Parameter(torch.tensor([0.0, np.log(p / (1 - p))]))
        self.config = ModelConfig(position="none")

    def prefill(self, x: torch.Tensor, ids: None) -> tuple[torch.Tensor, Any]:
        return self.logits.expand(len(x), 2), State([], x.shape[1])

    def step(self, token: torch.Tensor, state: State, ids: None) -> tuple[torch.Tensor, Any]:
        return self.logits.expand(len(token), 2), state


@pytest.mark.parametrize(("p", "temperature"), [(0.8, 1.0), (0.6, 0.5)])
def test_a_coin_passes_as_often_as_it_should(p: float, temperature: float) -> None:
    """Parity without thought: its answer is a fair bit, so P(right) is p for half the prompts."""
    e = dataclasses.replace(for_task(Parity)(), task=Parity(k=3), cot=False)
    n, samples = 1500, 9
    probe = Probe("coin", 8, {}, n)
    found = sample(Coin(p), e, probe, samples, temperature)  # type: ignore[arg-type]
    assert list(found.passes) == [1, 2, 4, 8] and found.ended == 1.0
    odds = (p / (1 - p)) ** (1 / temperature)
    hot = odds / (1 + odds)
    for k, share in found.passes.items():
        wanted = np.mean([1 - (1 - right) ** k for right in (hot, 1 - hot)])
        assert abs(share.value - wanted) < 4.5 * 0.5 / n**0.5
        assert share.low <= share.value <= share.high
    wins = [
        sum(comb(9, c) * q**c * (1 - q) ** (9 - c) for c in range(5, 10)) for q in (hot, 1 - hot)
    ]
    assert abs(found.vote.value - np.mean(wins)) < 4.5 * 0.5 / n**0.5


def test_more_samples_begin_with_the_same_ones() -> None:
    e = untrained("parity", task__k="3")
    model, probe = make_model(e), dataclasses.replace(e.probes[0], n=600)
    (few, more) = (_draw(model, e, probe, samples, 1.0) for samples in (2, 3))
    assert len(few) == 2, "more rows than go at once"
    for (right, number), (wider, longer) in zip(few, more, strict=True):
        assert np.array_equal(right, wider[:, :2]) and np.array_equal(number, longer[:, :2])
    other = _draw(model, e, dataclasses.replace(probe, label="other"), 2, 1.0)
    assert not np.array_equal(few[0][1], other[0][1])


def test_samples_that_never_end_do_not_vote() -> None:
    e = untrained("addition")
    probe = Probe("short", 2, {}, 40)
    found = sample(make_model(e), e, probe, 3, 1.0)
    assert found.ended < 0.5 and found.vote.value == 0
    model = make_model(e)
    with torch.no_grad():
        model.head.weight.zero_()  # a token is as likely as any other; the first is no stop token
    found = sample(model, e, probe, 3, 1.0)
    assert 0 < found.ended < 1


def test_answers_are_compared_without_their_thoughts() -> None:
    task = load("addition")()
    batch = Rows(task, 2, 0)[0:2]
    own = batch.tokens.copy()
    own[:, 8] = 5  # within the thought
    assert answers(task, batch, own) == answers(task, batch, batch.tokens)
    own[0, -2] = 11
    assert answers(task, batch, own)[0] != answers(task, batch, batch.tokens)[0]
    own[1, own[1] == task.stop[0]] = 3
    assert answers(task, batch, own)[1] is None


def test_intervals_over_prompts() -> None:
    right = np.array([1.0] * 7 + [0.0] * 13)
    found = over_prompts(right)
    assert (found.low, found.high) == wilson(7, 20) and found.value == 0.35
    for value in (0.0, 1.0):
        found = over_prompts(np.full(50, value))
        assert found.value == value and found.high - found.low > 0.05
