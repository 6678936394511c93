"""Accuracy without the heads of the highest score, against as many at random (2404.15574).

The paper switches off the heads of the highest retrieval score, and as many others at random: the
first end recall, the others hardly matter. Here a head is off when its output is 0 at every token.
Exact match and loss are teacher-forced. `by` chooses the score: copy_score (the paper's, see
lab.analysis.analyses.copy_score); retrieval, the retrieval score of lab.analysis.heads, then the
weight on the dependencies, for a task that defines them; or loss: how much the loss rises on these
rows without the head alone, which every task has.

Ours: the heads of the lowest score as a second control; random sets are of all but the top heads,
from a stream of random numbers of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Annotated, Any, ClassVar, Literal

from lab.analysis.analyses import copy_score
from lab.analysis.finding import Finding
from lab.analysis.heads import measure
from lab.analysis.interventions import Ablation as Step
from lab.analysis.interventions import HeadId, Scores, ablate, importance
from lab.analysis.subject import Subject
from lab.config.fields import Field
from tasks import refuse

By = Literal["copy_score", "retrieval", "loss"]


@dataclass(frozen=True)
class Ablation(Finding):
    """by: the score. steps: one for each number of heads."""

    by: str
    steps: tuple[Step, ...]

    terms: ClassVar[Mapping[str, str]] = {
        "exact": "rows in which every token is right, earlier tokens given",
        "loss": "cross-entropy, nats a token",
    }

    @property
    def sentences(self) -> Sequence[str]:
        """What each number of heads costs."""
        exact, _ = self.steps[0].intact
        told = []
        for step in self.steps:
            if step.without_top is None:
                told.append(f"No head has a score ({self.by}); random sets are of all heads.")
                continue
            text = f"Without the top {len(step.top)} exact match falls by"
            text += f" {exact - step.without_top[0]:.3f}"
            if step.without_random:
                fall = exact - mean(exact for exact, _ in step.without_random)
                text += f", without as many at random by {fall:.3f}"
            told.append(f"{text}.")
        return told

    @property
    def table(self) -> Sequence[dict[str, Any]]:
        """The intact model, then every number of heads."""
        rows = [_row("none", (), self.steps[0].intact)]
        for step in self.steps:
            size = len(step.top) or len(step.random[0])
            if step.without_top:
                rows.append(_row(f"top {size}", step.top, step.without_top))
            if step.without_lowest:
                rows.append(_row(f"lowest {size}", step.lowest, step.without_lowest))
            if step.without_random:
                both = tuple(map(mean, zip(*step.without_random, strict=True)))
                sets = f"mean of {len(step.random)} sets"
                rows.append(_row(f"random {size}", sets, (both[0], both[1])))
        return rows


def analyze(
    subject: Subject,
    top: Annotated[tuple[int, ...], Field("numbers of heads to switch off", low=1)] = (1,),
    by: Annotated[By, "score that ranks the heads"] = "copy_score",
    draws: Annotated[int, Field("random sets for each number", low=1)] = 10,
    seed: Annotated[int, Field("seed of the random sets", low=0)] = 0,
) -> Ablation:
    """Accuracy without heads. ValueError where there is no head, for more heads than there are, and
    by copy_score for a task whose answers are not copied."""
    if not top:
        raise refuse("top", top, "at least one number of heads")
    scores = _scores(subject, by)
    return Ablation(by, tuple(ablate(subject, scores, number, draws, seed) for number in top))


def _scores(subject: Subject, by: By) -> Scores:
    if by == "copy_score":
        return copy_score.analyze(subject).scores
    if by == "loss":
        return {head: (rise,) for head, rise in importance(subject).items()}
    return {
        (h.layer, h.head): None
        if h.retrieval_score is None
        else (h.retrieval_score, h.dependency_weight or 0.0)
        for h in measure(subject).heads
    }


def _row(off: str, heads: Sequence[HeadId] | str, pair: tuple[float, float]) -> dict[str, Any]:
    if not isinstance(heads, str):
        heads = " ".join(f"{layer}.{head}" for layer, head in heads) or "-"
    return {"off": off, "heads": heads, "exact": pair[0], "loss": pair[1]}
