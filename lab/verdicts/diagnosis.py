"""Why a claim does not hold: what the learning curve of its treatment arm says about the cause."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lab.results.result import Result
from lab.results.summary import late_gain
from lab.verdicts.protocol import LEAST_SEEDS

if TYPE_CHECKING:
    from lab.verdicts.protocol import Claim

LEARNED = 0.9  # accuracy of the treatment arm from which it can do what it was trained on
RISING = 0.05  # gain in exact match over the last quarter of the steps, and as much left to gain


def rising(gain: float, end: float) -> bool:
    """Whether a curve that gained so much in the last quarter was still rising at its end."""
    return min(gain, 1 - end) >= RISING


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def diagnose(
    claim: Claim,
    results: Mapping[str, Result],
    verdict: str,
    series: Sequence[Mapping[str, Any]],
) -> dict[str, str] | None:
    """The cause of a verdict other than `holds`, and why: the first of these that applies, all but
    the first to the treatment arm, or None for `holds`.

    seeds   there are fewer than LEAST_SEEDS
    scale   it has learned its training rows, but the precondition of the claim is not met
    budget  its exact match was still rising at the end of training, by at least RISING, and at
            least as much was left to gain
    budget or scale  it has not learned its training rows, and was not evaluated during training
    scale   it has not learned them, and its exact match was not rising
    seeds   the threshold lies within the interval
    claim at this scale  it has learned, and the statistic is on the other side of the threshold:
            this does not rule out that the claim holds for larger models and more rows

    results: of the runs of the claim, by slug. series: `Measured.series` of each seed.
    """
    if verdict == "holds":
        return None
    if claim.seeds < LEAST_SEEDS:
        why = f"{claim.seeds} seeds: at least {LEAST_SEEDS} are needed"
        return {"cause": "seeds", "why": why}
    answers, ends, gains = [], [], []
    for experiment in claim.seeded(claim.arms[claim.treatment_arm]):
        result = results[experiment.slug]
        answers.append(result.scores[0].answer)
        ends.append(result.scores[0].exact)
        gain = late_gain(result)
        if gain is not None:
            gains.append(gain)
    learned = mean(answers)
    why = f"{claim.treatment_arm}: accuracy {learned:.3f} on rows like those of training"
    missing = claim.precondition(series) if claim.precondition and learned >= LEARNED else None
    if missing:
        return {"cause": "scale", "why": f"{why}, but {missing}"}
    if len(gains) == len(answers):
        gain, end = mean(gains), mean(ends)
        why += f", exact match {end:.3f} after {gain:+.3f} in the last quarter of the steps"
        if rising(gain, end):
            return {"cause": "budget", "why": why}
    elif learned < LEARNED:
        return {"cause": "budget or scale", "why": f"{why}; it was not evaluated on the way"}
    if learned < LEARNED:
        return {"cause": "scale", "why": why}
    return {"cause": "seeds" if verdict == "inconclusive" else "claim at this scale", "why": why}
