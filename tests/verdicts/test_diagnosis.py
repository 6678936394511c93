"""The cause of a verdict other than `holds`, from learning curves with a known cause."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lab.verdicts.diagnosis import LEARNED, diagnose
from tests.claim_results import claim_of, with_accuracy


@pytest.mark.parametrize(
    ("answer", "exact", "at_three_quarters", "verdict", "cause"),
    [
        (0.95, 0.3, 0.3, "fails", "claim at this scale"),
        (0.95, 0.9, 0.9, "inconclusive", "seeds"),
        (0.95, 0.9, 0.8, "inconclusive", "budget"),
        (0.95, 0.9, None, "fails", "claim at this scale"),
        (0.99, 0.98, 0.7, "fails", "claim at this scale"),
        (0.6, 0.6, 0.5, "fails", "budget"),
        (0.6, 0.6, 0.6, "inconclusive", "scale"),
        (0.6, 0.6, 0.9, "fails", "scale"),
        (0.6, 0.6, None, "fails", "budget or scale"),
    ],
)
def test_the_cause(
    answer: float, exact: float, at_three_quarters: float | None, verdict: str, cause: str
) -> None:
    """Evaluations every 125 of 1,000 steps: that at 750 is the last in the first three quarters."""
    claim = claim_of("turing-length")
    results = {}
    for e in claim.seeded(claim.arms["hard_alibi"]):
        one = with_accuracy(e, 0.0)
        home = replace(one.scores[0], exact=exact, answer=answer)
        curves = [
            {**row, "scores": [{**row["scores"][0], "exact": at_three_quarters}]}
            for row in one.curves
            if row["step"] == 750 and at_three_quarters is not None
        ]
        stray = {"step": 740, "branch": 800, "scores": [{"exact": exact}]}
        results[e.slug] = replace(one, scores=(home, *one.scores[1:]), curves=[*curves, stray])
    diagnosis = diagnose(claim, results, verdict, [])
    assert (
        diagnosis and diagnosis["cause"] == cause and f"accuracy {answer:.3f}" in diagnosis["why"]
    )
    assert diagnose(claim, results, "holds", []) is None
    bare = diagnose(
        replace(claim, precondition=lambda series: "nothing is there"), results, verdict, []
    )
    assert bare and ("nothing is there" in bare["why"]) == (answer >= LEARNED)
    assert bare["cause"] == ("scale" if answer >= LEARNED else cause)
