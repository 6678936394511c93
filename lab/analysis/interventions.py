"""Interventions on a trained model: heads switched off, weights between two checkpoints.

    ablation   exact match and loss with the heads of the best retrieval score switched off, and
               with as many others drawn at random (2404.15574: the top heads matter, random do not)
    segment    loss at (1 - a) A + a B for two checkpoints A, B: the river probe of 2410.05192, a
               valley between checkpoints at a constant rate, smooth between decayed ones

A head is off when its output is set to zero before the output projection, at every token. Exact
match and loss are teacher-forced (lab.nn.loss), on the rows of the subject.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from lab.analysis.subject import Subject
from lab.nn.inputs import to_torch
from lab.nn.loss import teacher_forced
from lab.nn.model import Model
from lab.training.checkpoint import blend
from tasks import refuse

if TYPE_CHECKING:
    from lab.analysis.heads import HeadStats


HeadId = tuple[int, int]  # layer, head


@dataclass(frozen=True)
class Ablation:
    """exact and loss of the intact model, without the `top` heads (None: no tokens are marked, so
    no head is above another), and without each of the sets of `random` heads (none where too few
    heads are left)."""

    top: tuple[HeadId, ...]
    random: tuple[tuple[HeadId, ...], ...]
    intact: tuple[float, float]
    without_top: tuple[float, float] | None
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


@contextmanager
def heads_off(model: Model, heads: Iterable[HeadId]) -> Iterator[None]:
    """The model with some heads (layer, head) of its attention layers off, also when it decodes."""
    hooks = []
    try:
        for layer, head in heads:
            mixer: Any = model.blocks[layer].mixer
            if not hasattr(mixer, "attention_weights") or not 0 <= head < mixer.heads:
                raise refuse("head", (layer, head), "a (layer, head) of an attention layer")
            hooks.append(mixer.out.register_forward_pre_hook(_silence(head, mixer.d)))
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _silence(head: int, d: int) -> Any:
    def hook(module: torch.nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
        read = args[0].clone()
        read[..., head * d : (head + 1) * d] = 0
        return (read,)

    return hook


def ablation(
    subject: Subject, heads: Sequence[HeadStats], top: int = 1, draws: int = 10, seed: int = 0
) -> Ablation:
    """Switch off the `top` heads by retrieval_score (ties: by dependency_weight), then as many of
    the others at random: `draws` sets, or every set where there are no more. Without marked tokens
    no head is on top, and the sets are of all heads. ValueError for more heads than there are."""
    if not 1 <= top <= len(heads):
        raise refuse("ablate", top, f"from 1 to the {len(heads)} heads of attention")
    ranked = sorted(
        heads, key=lambda h: (h.retrieval_score or 0.0, h.dependency_weight or 0.0), reverse=True
    )
    ranked_heads = [(h.layer, h.head) for h in ranked]
    first = 0 if heads[0].retrieval_score is None else top
    rest = ranked_heads[first:]
    others: list[tuple[HeadId, ...]]
    if math.comb(len(rest), top) <= draws:
        others = list(itertools.combinations(rest, top))
    else:
        rng = np.random.default_rng(seed)
        drawn = (rng.permutation(len(rest))[:top] for _ in range(draws))
        others = [tuple(rest[i] for i in sorted(chosen)) for chosen in drawn]
    return Ablation(
        top=tuple(ranked_heads[:first]),
        random=tuple(others),
        intact=exact_and_loss(subject),
        without_top=_without(subject, ranked_heads[:first]) if first else None,
        without_random=tuple(_without(subject, chosen) for chosen in others),
    )


def _without(subject: Subject, heads: Iterable[HeadId]) -> tuple[float, float]:
    with heads_off(subject.model, heads):
        return exact_and_loss(subject)


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
