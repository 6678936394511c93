"""What becomes of a model when something in it is changed: heads off, weights between checkpoints.

    ablation   exact match and loss with the heads of the best retrieval score switched off, and
               with as many others drawn at random (2404.15574: the top heads matter, random do not)
    segment    loss at (1 - a) A + a B for two checkpoints A, B: the river probe of 2410.05192, a
               valley between checkpoints at a constant rate, smooth between decayed ones

A head is off when what it read is replaced by zeros in front of the output projection, at every
token. Exact match and loss are teacher-forced (lab.training), on the rows of the subject.
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


Place = tuple[int, int]  # layer, head


@dataclass(frozen=True)
class Ablation:
    """exact and loss of the intact model, without the `top` heads, and without each of the sets of
    `random` heads."""

    top: tuple[Place, ...]
    random: tuple[tuple[Place, ...], ...]
    intact: tuple[float, float]
    without_top: tuple[float, float]
    without_random: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Interpolation:
    """shares: of the second checkpoint, from 0 to 1; loss and exact there. barrier: how far the loss
    rises above the straight line between its ends, at most; dip: how far it falls below."""

    ends: tuple[str, str]
    shares: tuple[float, ...]
    loss: tuple[float, ...]
    exact: tuple[float, ...]
    barrier: float
    dip: float


@torch.inference_mode()
def forced(subject: Subject, model: Model | None = None) -> tuple[float, float]:
    """Teacher-forced exact match (share of rows) and loss (nats a supervised token)."""
    model = (model or subject.model).eval()
    device = next(model.parameters()).device
    inputs = to_torch(subject.task, model.config, subject.batch, device)
    loss, exact = teacher_forced(model, inputs)
    return float(exact.double().mean()), float(loss)


@contextmanager
def heads_off(model: Model, heads: Iterable[Place]) -> Iterator[None]:
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
    """Switch off the `top` heads by retrieval_score (ties: by dependency_weight), then as many of the others, `draws`
    times, or in every way where there are no more."""
    if not heads or heads[0].retrieval_score is None or heads[0].dependency_weight is None:
        raise refuse(
            "ablate", top, "it needs attention, and tokens that are marked as dependencies"
        )
    if not 1 <= top <= len(heads) // 2:
        allowed = f"from 1 to half of the {len(heads)} heads, so that others are left to compare"
        raise refuse("ablate", top, allowed)
    ranked = sorted(
        heads, key=lambda h: (h.retrieval_score or 0.0, h.dependency_weight or 0.0), reverse=True
    )
    places = [(h.layer, h.head) for h in ranked]
    rest = places[top:]
    if math.comb(len(rest), top) <= draws:
        others = list(itertools.combinations(rest, top))
    else:
        rng = np.random.default_rng(seed)
        drawn = (rng.permutation(len(rest))[:top] for _ in range(draws))
        others = [tuple(rest[i] for i in sorted(chosen)) for chosen in drawn]
    return Ablation(
        top=tuple(places[:top]),
        random=tuple(others),
        intact=forced(subject),
        without_top=_without(subject, places[:top]),
        without_random=tuple(_without(subject, chosen) for chosen in others),
    )


def _without(subject: Subject, heads: Iterable[Place]) -> tuple[float, float]:
    with heads_off(subject.model, heads):
        return forced(subject)


def interpolate(start: Subject, end: Subject, points: int = 11) -> Interpolation:
    """Walk from the weights of one subject to those of the other, on the rows of the second."""
    if start.model.config != end.model.config:
        raise refuse("interpolate", start.run, f"its model is another one than that of {end.run}")
    if end.model.config.sigma:
        allowed = "false: estimates of its weights are not to be averaged"
        raise refuse("model.sigma", True, allowed)
    shares = np.linspace(0, 1, points)
    walked = []
    for share in shares.tolist():
        walker = copy.deepcopy(end.model)
        blend(walker, start.model, share)
        walked.append(forced(end, walker))
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
