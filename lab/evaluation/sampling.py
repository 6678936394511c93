"""Answers drawn k times: temperature, Pass@k and the majority vote.

A token is drawn from softmax(logits / temperature). Of n samples of a prompt, c of them right,

    Pass@k = 1 - C(n - c, k) / C(n, k)        the estimator of 2107.03374, section 2.1

is the probability that k of the n samples, drawn without replacement, contain a right one; it is
unbiased for k <= n. The majority vote is the most frequent answer of a prompt, and among equally
frequent ones the first (our choice). Samples without an answer do not vote, and a prompt without
votes counts as wrong. Two samples agree if their answers are equal, whatever their thoughts.

The random number for position t of row i in sample s depends on the seed, the probe, t, i and s
alone: not on k, not on the rows decoded together, not on their lengths. The same weights may still
give another token, since another batch size can change the last bits of logits. Under position =
predicted, position ids are the most likely ones, as in greedy decoding.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import comb

import numpy as np
import torch

from lab.config import Experiment, Probe
from lab.data.rows import stream
from lab.evaluation.decode import Pick, answers, decode
from lab.evaluation.mode import evaluating
from lab.evaluation.score import ROWS_AT_ONCE, questions
from lab.nn.model import Model
from lab.stats import wilson


@dataclass(frozen=True)
class Estimate:
    """A mean over the prompts of a probe and its interval (see `over_prompts`)."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Sampled:
    """`samples` answers to each of n prompts. passes: Pass@k for k = 1, 2, 4, ... up to samples.
    vote: fraction of prompts whose majority vote is right. ended: fraction of samples that end with
    an answer."""

    probe: str
    length: int
    n: int
    samples: int
    temperature: float
    passes: dict[int, Estimate]
    vote: Estimate
    ended: float


def sample(
    model: Model, experiment: Experiment, probe: Probe, samples: int, temperature: float
) -> Sampled:
    """Answer every prompt of a probe `samples` times. temperature: above 0."""
    right, number = (
        np.concatenate(parts)
        for parts in zip(*_draw(model, experiment, probe, samples, temperature), strict=True)
    )
    winner = majority(number)
    won = (winner >= 0) & right[np.arange(probe.n), winner]
    powers = [2**i for i in range(samples.bit_length())]
    each = right.sum(1)
    return Sampled(
        probe=probe.label,
        length=probe.length,
        n=probe.n,
        samples=samples,
        temperature=temperature,
        passes={k: over_prompts(_table(samples, k)[each]) for k in powers},
        vote=over_prompts(won),
        ended=float((number >= 0).mean()),
    )


def _draw(
    model: Model, experiment: Experiment, probe: Probe, samples: int, temperature: float
) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each part of the rows: right bool [n, samples], and which answer it is, int [n, samples],
    numbered within a prompt, -1 for none."""
    task, parts = probe.of(experiment.task), []
    for part, batch in enumerate(questions(experiment, probe)):
        wanted = answers(task, batch, batch.tokens)
        drawn = []
        for s in range(samples):
            key = stream(experiment.train.seed, "sample", probe.label, probe.length, s, part)
            pick = sampler(np.random.default_rng(key), batch.tokens.shape[1], temperature)
            with evaluating(model, experiment.train.precision):
                drawn.append(answers(task, batch, decode(model, task, batch, pick)))
        each = list(zip(*drawn, strict=True))
        right = [[own == ref for own in row] for row, ref in zip(each, wanted, strict=True)]
        parts.append((np.array(right), np.array([numbered(row) for row in each])))
    return parts


def sampler(rng: np.random.Generator, T: int, temperature: float) -> Pick:
    """A `Pick` for rows of at most T tokens: it inverts the distribution function at one uniform
    number per row and position."""
    uniform = rng.random((T, ROWS_AT_ONCE))  # position t of row i, whatever T is

    def pick(logits: torch.Tensor, rows: np.ndarray, t: int) -> np.ndarray:
        below_top = (logits - logits.amax(-1, keepdim=True)).double()  # for tiny temperatures
        reached = (below_top / temperature).softmax(-1).cumsum(-1)
        u = torch.from_numpy(uniform[t, rows]).to(reached.device)[:, None] * reached[:, -1:]
        token = torch.searchsorted(reached, u, right=True)[:, 0]
        return token.clamp_(max=logits.shape[-1] - 1).cpu().numpy()

    return pick


def pass_at(n: int, c: int, k: int) -> float:
    """Unbiased Pass@k from n samples, c of them right; 1 <= k <= n."""
    return 1 - comb(n - c, k) / comb(n, k)


def _table(n: int, k: int) -> np.ndarray:
    return np.array([pass_at(n, c, k) for c in range(n + 1)])


def numbered(answered: Sequence[Hashable | None]) -> list[int]:
    """Answers as numbers in the order of their first appearance; -1 for None."""
    seen: dict[Hashable, int] = {}
    return [-1 if own is None else seen.setdefault(own, len(seen)) for own in answered]


def majority(number: np.ndarray) -> np.ndarray:
    """The sample with the most frequent answer, int [n], from answers as numbers [n, samples]; the
    first of ties, -1 where no sample has an answer."""
    votes = np.zeros(number.shape, np.int64)
    for s in range(number.shape[1]):
        votes += number == number[:, s : s + 1]
    votes[number < 0] = 0
    first = votes.argmax(1)
    return np.where(votes.max(1) > 0, first, -1)


def over_prompts(values: np.ndarray) -> Estimate:
    """Mean of a number from 0 to 1 per prompt, and a 95% interval with prompts as units.

    Wilson's, for as many successes as the mean comes to: exact for right or wrong, and
    conservative for Pass@k, as no variable from 0 to 1 with this mean varies more than a coin.
    """
    mean = float(values.mean())
    return Estimate(mean, *wilson(round(mean * len(values)), len(values)))
