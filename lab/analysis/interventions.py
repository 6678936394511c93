"""Interventions on a trained model: heads switched off, weights with noise or between checkpoints.

    ablate       exact match and loss with the heads of the highest scores switched off, with those
                 of the lowest, and with as many others drawn at random (2404.15574: the top heads
                 matter, random ones do not)
    importance   rise of the loss without a head, for every head
    interpolate  loss at (1 - a) A + a B for two checkpoints A, B: the river probe of 2410.05192, a
                 valley between checkpoints at a constant rate, smooth between decayed ones
    noise_harm   rise of the loss with normal noise on the weights, as in 2503.19206

A head is off when its output is set to zero before the output projection, at every token. Exact
match and loss are teacher-forced (lab.nn.loss), on the rows of the subject.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch

from lab.analysis.sites import Site, changed, required_sites
from lab.analysis.subject import Subject
from lab.data.rows import stream
from lab.nn.inputs import to_torch
from lab.nn.loss import teacher_forced
from lab.nn.model import Model
from lab.training.checkpoint import blend
from tasks import refuse

HeadId = tuple[int, int]  # layer, head
Scores = Mapping[HeadId, tuple[float, ...] | None]  # later numbers decide between equal ones
T = TypeVar("T")


@dataclass(frozen=True)
class Ablation:
    """exact and loss of the intact model, without the `top` heads (None: heads have no scores, so
    none is above another), without as many `lowest` ones (None: some would be of the top), and
    without each of the sets of `random` heads (none where too few heads are left)."""

    top: tuple[HeadId, ...]
    lowest: tuple[HeadId, ...]
    random: tuple[tuple[HeadId, ...], ...]
    intact: tuple[float, float]
    without_top: tuple[float, float] | None
    without_lowest: tuple[float, float] | None
    without_random: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Interpolation:
    """shares: weight of the second checkpoint, from 0 to 1; loss and exact at each. barrier:
    largest excess of the loss over the straight line between its ends; dip: largest deficit."""

    ends: tuple[str, str]
    shares: tuple[float, ...]
    loss: tuple[float, ...]
    exact: tuple[float, ...]
    barrier: float
    dip: float


@torch.inference_mode()
def exact_and_loss(subject: Subject, model: Model | None = None) -> tuple[float, float]:
    """Teacher-forced exact match (share of rows) and loss (nats a supervised token)."""
    model = (model or subject.model).eval()
    device = next(model.parameters()).device
    inputs = to_torch(subject.task, model.config, subject.batch, device)
    loss, exact = teacher_forced(model, inputs)
    return float(exact.double().mean()), float(loss)


def heads_off(model: Model, heads: Iterable[HeadId]) -> AbstractContextManager[None]:
    """The model with some heads (layer, head) of its attention layers off, also when it decodes."""
    return changed(model, {Site("head", *head): torch.zeros_like for head in heads})


def importance(subject: Subject) -> dict[HeadId, float]:
    """How much the loss rises, in nats a supervised token, when a head is off, for every head."""
    heads = [(site.layer, site.head or 0) for site in required_sites(subject.model, "head")]
    _, loss = exact_and_loss(subject)
    return {head: _without(subject, [head])[1] - loss for head in heads}


def ablate(subject: Subject, scores: Scores, top: int, draws: int = 10, seed: int = 0) -> Ablation:
    """Switch off the `top` heads of the highest scores, those of the lowest, and as many of all but
    the top ones at random: `draws` sets from a stream of their own under `seed`, or every set where
    there are no more. Where a head has no score none is on top, and the sets are of all heads.
    ValueError for more heads than there are."""
    if not 1 <= top <= len(scores):
        raise refuse("top", top, f"from 1 to the {len(scores)} heads of attention")
    known = {head: score for head, score in scores.items() if score is not None}
    ranked = sorted(scores)
    if len(known) == len(scores):
        ranked = sorted(known, key=known.__getitem__, reverse=True)
    first = top if len(known) == len(scores) else 0
    lowest = ranked[-top:] if first and 2 * top <= len(ranked) else []
    others = random_sets(ranked[first:], top, draws, stream(seed, "ablation", top))
    return Ablation(
        top=tuple(ranked[:first]),
        lowest=tuple(lowest),
        random=tuple(others),
        intact=exact_and_loss(subject),
        without_top=_without(subject, ranked[:first]) if first else None,
        without_lowest=_without(subject, lowest) if lowest else None,
        without_random=tuple(_without(subject, chosen) for chosen in others),
    )


def random_sets(
    items: Sequence[T], size: int, draws: int, key: np.random.SeedSequence
) -> list[tuple[T, ...]]:
    """`draws` sets of this size, in the order of the items; every set where there are no more."""
    if math.comb(len(items), size) <= draws:
        return list(itertools.combinations(items, size))
    rng = np.random.default_rng(key)
    drawn = (rng.choice(len(items), size, replace=False) for _ in range(draws))
    return [tuple(items[i] for i in sorted(chosen)) for chosen in drawn]


def _without(subject: Subject, heads: Iterable[HeadId]) -> tuple[float, float]:
    with heads_off(subject.model, heads):
        return exact_and_loss(subject)


def noise_harm(
    subject: Subject, size: float, relative: bool = True, draws: int = 8, seed: int = 0
) -> float:
    """How much the loss rises, in nats a supervised token, with independent normal noise on every
    matrix of the weights; the mean over `draws`.

    size: the deviation of the noise, as a share of the root mean square of each matrix, or, if not
    relative, in units of the weights. Gains and biases have none (our choice). Each draw has a
    stream of its own under `seed`: the same noise for every checkpoint, but for its size.
    """
    _, loss = exact_and_loss(subject)
    rises = []
    for draw in range(draws):
        rng = np.random.default_rng(stream(seed, "noise", draw))
        noisy = copy.deepcopy(subject.model)
        with torch.no_grad():
            for weight in noisy.parameters():
                if weight.ndim > 1:
                    drawn = torch.from_numpy(rng.standard_normal(weight.shape, np.float32))
                    own = float(weight.square().mean().sqrt()) if relative else 1.0
                    weight.add_(drawn.to(weight), alpha=size * own)
        rises.append(exact_and_loss(subject, noisy)[1] - loss)
    return float(np.mean(rises))


def interpolate(start: Subject, end: Subject, points: int = 11) -> Interpolation:
    """Loss and exact match at `points` weights on the segment from one subject's to the other's, on
    the rows of the second. ValueError for two models of different configurations."""
    if start.model.config != end.model.config:
        raise refuse(
            "interpolate", start.run, f"its model has another configuration than that of {end.run}"
        )
    if end.model.config.sigma:
        allowed = "false: the spectral norm estimates in its weights cannot be averaged"
        raise refuse("model.sigma", True, allowed)
    shares = np.linspace(0, 1, points)
    walked = []
    for share in shares.tolist():
        walker = copy.deepcopy(end.model)
        blend(walker, start.model, share)
        walked.append(exact_and_loss(end, walker))
    exact, loss = zip(*walked, strict=True)
    above = np.array(loss) - (loss[0] + shares * (loss[-1] - loss[0]))
    return Interpolation(
        ends=(start.at, end.at),
        shares=tuple(shares.tolist()),
        loss=loss,
        exact=exact,
        barrier=float(above.max()),
        dip=float(-above.min()),
    )
