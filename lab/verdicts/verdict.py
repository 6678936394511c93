"""The verdict of a claim from its finished runs.

Every arm is an Experiment, run with the same seeds. The statistic is one number for each seed; the
interval around their median lies between two of them and covers it with 95% or more (lab.stats):

    holds         the whole interval lies beyond the threshold: all of 6 or 7 seeds, 7 of 8
    fails         the whole interval lies on the other side
    inconclusive  the threshold lies inside the interval, or there are fewer than 6 seeds

The negative control changes some arms so that the reason for the claim is gone. The same statistic
with the same threshold must then come out `fails`, because a check that cannot fail shows nothing:
a claim that would hold is `inconclusive` where its control does not fail. A control that puts one
arm in the place of another has runs with seeds of its own (`protocol.with_disjoint_seeds`).

Where a claim does not hold, the learning curve of its treatment arm says what the cause is
(`diagnosis.diagnose`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lab.results.result import Result
from lab.results.summary import evaluations
from lab.stats import End, OverSeeds, over_seeds
from lab.verdicts.diagnosis import diagnose
from lab.verdicts.protocol import LEAST_SEEDS, Arms, Claim

POINTS = 20  # most points of the learning curve of a run in a record


def decide(values: Sequence[float], threshold: float, above: bool) -> tuple[str, OverSeeds | None]:
    """Verdict, and median over seeds with the interval that it follows from; one seed alone has
    none.

    values: the statistic of each seed; some may be infinite (an arm that never learned). ValueError
    where one is not a number.
    """
    if any(math.isnan(value) for value in values):
        raise ValueError("a statistic is not a number")
    over = over_seeds(values, facing(above))
    if over is None or len(values) < LEAST_SEEDS:
        return "inconclusive", over
    return compare(over.interval, threshold, above), over


def facing(above: bool) -> End:
    """The end of the interval that must be beyond the threshold for a claim to hold."""
    return "low" if above else "high"


def compare(interval: Sequence[float], threshold: float, above: bool) -> str:
    """Verdict by an interval (low, high)."""
    low, high = interval if above else (-interval[1], -interval[0])
    bar = threshold if above else -threshold
    return "holds" if low >= bar else "fails" if high < bar else "inconclusive"


def evaluate_claim(claim: Claim, results: Mapping[str, Result]) -> dict[str, Any]:
    """The record of a claim without its environment and command. results: finished runs by slug.

    The experiments in a record are those of the first seed.
    """

    arms, changed = _runs(claim, claim.arms, results), _runs(claim, claim.control.arms, results)
    main, controlled = _side(claim, arms), _side(claim, {**arms, **changed})
    diagnosis = diagnose(claim, results, main["verdict"], main["series"])
    if main["verdict"] == "holds" and controlled["verdict"] != "fails":
        why = f"the same check comes out {controlled['verdict']} under its control"
        main |= {"verdict": "inconclusive"}
        diagnosis = {"cause": "control", "why": f"{why}: {claim.control.why}"}
    return {
        "claim": claim.name,
        "scale": claim.scale,
        "source": claim.source,
        "statement": claim.statement,
        "paper": claim.paper,
        "our_choices": claim.our_choices,
        "statistic": claim.statistic,
        "threshold": claim.threshold,
        "above": claim.above,
        "seeds": claim.seeds,
        **main,
        "diagnosis": diagnosis,
        "negative_control": {
            "why": claim.control.why,
            **controlled,
            "arms": {name: list(map(_arm, of_arm)) for name, of_arm in changed.items()},
            "experiments": {name: e.to_json() for name, e in claim.control.arms.items()},
        },
        "arms": {name: list(map(_arm, of_arm)) for name, of_arm in arms.items()},
        "experiments": {name: e.to_json() for name, e in claim.arms.items()},
    }


def _runs(claim: Claim, arms: Arms, results: Mapping[str, Result]) -> dict[str, list[Result]]:
    """The results of every arm, by seed."""
    return {name: [results[e.slug] for e in claim.seeded(arm)] for name, arm in arms.items()}


def _side(claim: Claim, runs: Mapping[str, Sequence[Result]]) -> dict[str, Any]:
    """The statistic of these arms and its verdict."""
    seeds = [
        claim.measure({name: of_arm[number] for name, of_arm in runs.items()})
        for number in range(claim.seeds)
    ]
    values = [measured.value for measured in seeds]
    verdict, over = decide(values, claim.threshold, claim.above)
    return {
        "verdict": verdict,
        "median": over.median if over else values[0],
        "interval": over.interval if over else None,
        "coverage": over.ranks.coverage if over else None,
        "values": values,
        "series": [measured.series for measured in seeds],
    }


def _arm(result: Result) -> dict[str, Any]:
    """The part of the result of a run that a record keeps."""
    names = ("probe", "length", "n", "exact", "answer")
    scores = [{name: getattr(score, name) for name in names} for score in result.scores]
    kept = {"run": Path(result.run).name, "scores": scores, "seconds": result.seconds}
    rows = evaluations(result)
    some = rows[:: -(-len(rows) // POINTS) or 1]
    curve = [[row["rows"], [s["exact"] for s in row["scores"]]] for row in some]
    return kept | {"curve": curve, "learned": result.learned}


def record(claim: Claim, results: Mapping[str, Result], command: str) -> dict[str, Any]:
    """The record of a claim: `evaluate_claim`, with the command that makes it and the environment
    of its runs."""
    return made_by(command, list(results.values())) | evaluate_claim(claim, results)


def made_by(command: str, results: Sequence[Result]) -> dict[str, Any]:
    """How a record was made: its command, and the environment of its runs; where they differ, every
    value."""
    environment = _joined([result.environment for result in results])
    return {"command": command, "environment": environment}


def _joined(values: Sequence[Any]) -> Any:
    """The value that all of these have; where they differ, every one, separated by commas."""
    if all(isinstance(value, Mapping) for value in values):
        names = dict.fromkeys(name for value in values for name in value)
        return {name: _joined([v[name] for v in values if name in v]) for name in names}
    different = sorted({str(value) for value in values})
    return values[0] if len(different) == 1 else ", ".join(different)
