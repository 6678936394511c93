"""What a claim that does not hold is due to, from the curve of its subject."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lab.results.result import Result
from lab.results.summary import evaluations

if TYPE_CHECKING:
    from lab.verdicts.protocol import Claim


LEARNED = 0.9  # accuracy of a subject that can do what it was trained on


RISING = 0.05  # in exact match over the last quarter of the steps, and as much left to gain


def diagnose(
    claim: Claim,
    results: Mapping[str, Result],
    verdict: str,
    series: Sequence[Mapping[str, Any]],
) -> dict[str, str] | None:
    """What a verdict other than `holds` is due to: the first of these that is so.

    scale   the subject has learned its training rows, but the precondition of the claim is not there
    budget  its accuracy there was still rising at the end, and had room to
    budget or scale  it has not learned, and was not evaluated on the way
    scale   it has not learned, and was not rising
    seeds   the threshold lies within the interval
    claim at this scale  the statistic is on the other side all the same: that the claim holds for
            larger models and more rows is not ruled out
    """
    if verdict == "holds":
        return None
    answers, ends, gains = [], [], []
    for experiment in claim.seeded(claim.arms[claim.treatment_arm]):
        result = results[experiment.slug]
        answers.append(result.scores[0].answer)
        ends.append(result.scores[0].exact)
        late = [row for row in evaluations(result) if row["step"] <= 0.75 * result.steps]
        if late:
            gains.append(result.scores[0].exact - late[-1]["scores"][0]["exact"])
    learned = sum(answers) / len(answers)
    says = f"{claim.treatment_arm}: accuracy {learned:.3f} on rows like those of training"
    missing = claim.precondition(series) if claim.precondition and learned >= LEARNED else None
    if missing:
        return {"cause": "scale", "why": f"{says}, but {missing}"}
    if len(gains) == len(answers):
        gain, end = sum(gains) / len(gains), sum(ends) / len(ends)
        says += f", exact match {end:.3f} after {gain:+.3f} in the last quarter of the steps"
        if min(gain, 1 - end) >= RISING:
            return {"cause": "budget", "why": says}
    elif learned < LEARNED:
        return {"cause": "budget or scale", "why": f"{says}; it was not evaluated on the way"}
    if learned < LEARNED:
        return {"cause": "scale", "why": says}
    return {"cause": "seeds" if verdict == "inconclusive" else "claim at this scale", "why": says}
