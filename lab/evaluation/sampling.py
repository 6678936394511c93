"""Answers drawn k times: temperature, Pass@k and the majority vote.

A token is drawn from softmax(logits / temperature). Of n samples of a prompt, c of them right,

    Pass@k = 1 - C(n - c, k) / C(n, k)        the estimator of 2107.03374, section 2.1

is the chance that k of the n, drawn without replacement, hold a right one: unbiased for k <= n. The
vote of a prompt goes to its most frequent answer, of several to the one that was reached first
(our choice); samples that end without an answer do not vote, and a prompt without votes is wrong.
Two samples answer the same if lab.evaluation.decode.answers says so, whatever their thoughts.

What is drawn for place t of row i in sample s depends on the seed, the probe and these three alone:
not on k, on the rows that are decoded together or on how long they are. The same weights may still
give another token, since a batch of another size can change the last bits of logits. With predicted
positions, places are the model's most likely ones, as in greedy decoding.
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
from lab.evaluation.score import ROWS_AT_ONCE, questions
from lab.nn.loss import precision
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
    vote: share of prompts whose majority vote is right. ended: share of all samples that ended with
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
    chosen = majority(number)
    won = (chosen >= 0) & right[np.arange(probe.n), chosen]
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


@torch.inference_mode()
def _draw(
    model: Model, experiment: Experiment, probe: Probe, samples: int, temperature: float
) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each part of the rows: right bool [n, samples], and which answer it is, int [n, samples],
    numbered within a prompt, -1 for none."""
    model.eval()
    device = next(model.parameters()).device
    task, parts = probe.of(experiment.task), []
    for part, batch in enumerate(questions(experiment, probe)):
        wanted = answers(task, batch, batch.tokens)
        found = []
        for s in range(samples):
            key = stream(experiment.train.seed, "sample", probe.label, probe.length, s, part)
            pick = sampler(np.random.default_rng(key), batch.tokens.shape[1], temperature)
            kind = precision(experiment.train.precision, device)
            with kind, torch.compiler.set_stance("force_eager"):
                found.append(answers(task, batch, decode(model, task, batch, pick)))
        each = list(zip(*found, strict=True))
        right = [[own == ref for own in row] for row, ref in zip(each, wanted, strict=True)]
        parts.append((np.array(right), np.array([numbered(row) for row in each])))
    return parts


def sampler(rng: np.random.Generator, T: int, temperature: float) -> Pick:
    """A way to choose tokens in rows of at most T: by inverting the distribution function at one
    uniform number per row and place."""
    uniform = rng.random((T, ROWS_AT_ONCE))  # place t of row i, whatever T is

    def pick(logits: torch.Tensor, rows: np.ndarray, t: int) -> np.ndarray:
        below_top = (logits - logits.amax(-1, keepdim=True)).double()  # for tiny temperatures
        reached = (below_top / temperature).softmax(-1).cumsum(-1)
        u = torch.from_numpy(uniform[t, rows]).to(reached.device)[:, None] * reached[:, -1:]
        found = torch.searchsorted(reached, u, right=True)[:, 0]
        return found.clamp_(max=logits.shape[-1] - 1).cpu().numpy()

    return pick


def pass_at(n: int, c: int, k: int) -> float:
    """Unbiased Pass@k from n samples, c of them right; 1 <= k <= n."""
    return 1 - comb(n - c, k) / comb(n, k)


def _table(n: int, k: int) -> np.ndarray:
    return np.array([pass_at(n, c, k) for c in range(n + 1)])


def numbered(found: Sequence[Hashable | None]) -> list[int]:
    """Answers as numbers in the order in which they are first reached; -1 for None."""
    seen: dict[Hashable, int] = {}
    return [-1 if own is None else seen.setdefault(own, len(seen)) for own in found]


def majority(number: np.ndarray) -> np.ndarray:
    """Of answers [n, samples] as numbers, which sample has the most frequent one: int [n], of ties
    the first; -1 where no sample answers."""
    votes = np.zeros(number.shape, np.int64)
    for s in range(number.shape[1]):
        votes += number == number[:, s : s + 1]
    votes[number < 0] = 0
    first = votes.argmax(1)
    return np.where(votes.max(1) > 0, first, -1)


def over_prompts(values: np.ndarray) -> Estimate:
    """Mean of a number from 0 to 1 per prompt, and a 95% interval with prompts as units.

    Wilson's, for as many successes as the mean comes to: exact for right or wrong, and for Pass@k
    with a share per prompt on the wide side, as nothing with this mean varies more than a coin.
    """
    mean = float(values.mean())
    return Estimate(mean, *wilson(round(mean * len(values)), len(values)))
