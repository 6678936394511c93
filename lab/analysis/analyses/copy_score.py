"""How often a head looks at the very token that the model copies, while it writes it (2404.15574).

For a row whose answer has k tokens copied from other tokens, its sources:

    copy score of a head = (1/k) sum over the copied tokens w_t that the model writes
                           [x_j = w_t and j is a source],  j = argmax_j a_tj

a_tj is the weight of the head on token x_j while the model writes w_t: of the query before it. The
mean is over rows of which the model copies more than half. The paper's retrieval score, which its
code counts so; there a row counts where ROUGE-1 exceeds 50.

Ours: the sources are what Task.dependencies marks; an answer token is copied if it equals every
token that is marked for it, and a task copies if that is so of all marked answer tokens. A token is
written if it and all before it are right: greedy decoding then writes it. Of equal weights the
first counts. Layers and heads count from 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from lab.analysis.finding import Finding
from lab.analysis.heads import in_parts
from lab.analysis.interventions import HeadId
from lab.analysis.sites import required_sites
from lab.analysis.subject import Subject, dependency_mask, layers
from lab.nn.inputs import to_torch
from tasks import Role, refuse


@dataclass(frozen=True)
class CopyScore:
    """One head. score: None where no row counts."""

    layer: int
    head: int
    copy_score: float | None


@dataclass(frozen=True)
class CopyScores(Finding):
    """heads: from bottom to top. rows: of them `counted` rows are copied for more than half."""

    heads: tuple[CopyScore, ...]
    rows: int
    counted: int

    terms: ClassVar[Mapping[str, str]] = {
        "copy_score": "share of the copied tokens of a row that the model writes while the head's"
        " heaviest token is one like it in what is copied"
    }

    @property
    def scores(self) -> dict[HeadId, tuple[float, ...] | None]:
        """For lab.analysis.interventions.ablate."""
        return {
            (h.layer, h.head): None if h.copy_score is None else (h.copy_score,) for h in self.heads
        }

    @property
    def sentences(self) -> Sequence[str]:
        """How many rows count."""
        part = f"{self.counted} of {self.rows} rows"
        return [f"The model copies more than half of the answer in {part}; these count."]

    @property
    def table(self) -> Sequence[dict[str, Any]]:
        """One head a row, the best first."""
        best = sorted(self.heads, key=lambda h: h.copy_score or 0.0, reverse=True)
        return [{"head": f"{h.layer}.{h.head}", "copy_score": h.copy_score} for h in best]


def analyze(subject: Subject) -> CopyScores:
    """The copy score of every head of attention. ValueError where there is no head, and for a task
    whose answers are not copied."""
    heads = [(site.layer, site.head or 0) for site in required_sites(subject.model, "head")]
    source, copied = copied_tokens(subject)
    writes = copied & _right_so_far(subject)
    counted = 2 * writes.sum(1) > copied.sum(1)
    hits = {head: np.zeros(len(copied)) for head in heads}
    for rows in in_parts(subject):
        read = subject.batch.tokens[rows]
        own = np.where(source[rows], read, -1)  # the word of a source
        written = np.roll(read, -1, 1)
        for layer in layers(subject, rows):
            if layer.weights is None:
                continue
            heaviest = layer.weights.argmax(-1).cpu().numpy()  # [n,H,T]
            for head in range(heaviest.shape[1]):
                seen = np.take_along_axis(own, heaviest[:, head], 1)
                hits[layer.number, head][rows] = (writes[rows] & (seen == written)).sum(1)
    tokens = copied.sum(1)[counted]
    scores = {
        head: float((found[counted] / tokens).mean()) if counted.any() else None
        for head, found in hits.items()
    }
    return CopyScores(
        heads=tuple(CopyScore(*head, score) for head, score in scores.items()),
        rows=len(copied),
        counted=int(counted.sum()),
    )


def copied_tokens(subject: Subject) -> tuple[np.ndarray, np.ndarray]:
    """Tokens that are copied, and queries after which a copied answer token follows: bool [n,T]
    each. ValueError for a task whose answers are not copied."""
    batch, task = subject.batch, subject.task
    marks = dependency_mask(subject)
    if marks is None:
        why = "it does not say which tokens its answers are copied from"
        if subject.experiment.prompt_repeats > 1:
            why = "with repeated prompts there are several that it may be copied from"
        raise refuse("task", task.name, why)
    marks[:, :-1] &= (batch.roles[:, 1:] == Role.ANSWER)[:, :, None]
    row, query, token = np.nonzero(marks)
    if not len(row) or (batch.tokens[row, query + 1] != batch.tokens[row, token]).any():
        raise refuse("task", task.name, "its answers are computed, not copied from the prompt")
    return np.asarray(marks.any(1)), np.asarray(marks.any(2))


@torch.inference_mode()
def _right_so_far(subject: Subject) -> np.ndarray:
    """Queries up to which the model, decoding greedily, writes every token right: bool [n,T]."""
    model = subject.model.eval()
    device = next(model.parameters()).device
    tokens, supervised, ids = to_torch(subject.task, model.config, subject.batch, device)
    logits = model(tokens[:, :-1], supervised, None if ids is None else ids[:, :-1])
    wrong = torch.zeros_like(tokens, dtype=torch.bool)
    wrong[:, :-1][supervised] = logits.argmax(-1) != tokens[:, 1:][supervised]
    return (wrong.cumsum(1) == 0).cpu().numpy()
