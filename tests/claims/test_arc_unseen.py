"""The claim arc-unseen: its statistic is the lowest accuracy on unseen tuples."""

from __future__ import annotations

from dataclasses import replace

from tests.claim_results import claim_of, with_accuracy


def test_the_lowest_unseen_accuracy_decides() -> None:
    claim = claim_of("arc-unseen", "gpu")
    results = {
        name: with_accuracy(e, 0.99 if name[:3] == "CoT" else 0.4) for name, e in claim.arms.items()
    }
    assert claim.measure(results).value == 0.99
    low = results["CoT, d = 20, k = 10"]
    unseen = [replace(s, exact=0.7) if s.probe == "unseen" else s for s in low.scores]
    results["CoT, d = 20, k = 10"] = replace(low, scores=tuple(unseen))
    assert claim.measure(results).value == 0.7
