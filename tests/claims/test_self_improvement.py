"""The claim self-improvement: what counts as carrying further, and what each arm trains on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lab.claims.self_improvement import BEFORE, LABELLED, SELF
from lab.config import Parent
from lab.config.experiment import Scale
from lab.verdicts.verdict import evaluate_claim
from tests.claim_results import claim_of, with_accuracies


def test_gain_at_twice_the_labelled_lengths() -> None:
    claim = claim_of("self-improvement")
    near, far = (claim.arms[SELF].probes[i].length for i in (0, -1))
    assert far == 2 * near

    def record(before: float, labelled: float, own: float, at_random: float) -> dict[str, Any]:
        ends = {BEFORE: before, LABELLED: labelled, SELF: own}
        results = {}
        for arms, right in ((claim.arms, ends), (claim.control.arms, {SELF: at_random})):
            for name, arm in arms.items():
                by_probe = {("held out", near): 1.0, ("held out", far): right[name]}
                results |= {e.slug: with_accuracies(e, by_probe) for e in claim.seeded(arm)}
        return evaluate_claim(claim, results)

    seen = record(0.0, 0.125, 0.875, 0.0)
    assert seen["verdict"] == "holds" and seen["values"] == [0.75] * 6
    assert seen["negative_control"]["verdict"] == "fails"
    assert seen["series"][0]["accuracy_by_length"][SELF][-1] == [far, 0.875]
    assert record(0.0, 0.125, 0.875, 0.875)["verdict"] == "inconclusive", "no oracle is needed"
    for ends in ((0.0, 0.5, 0.9), (0.5, 0.0, 0.9), (1.0, 1.0, 1.0), (0.0, 0.0, 0.4)):
        assert record(*ends, 0.0)["verdict"] == "fails"


@pytest.mark.parametrize("scale", ["cpu", "gpu"])
def test_what_each_arm_trains_on(scale: Scale) -> None:
    claim = claim_of("self-improvement", scale)
    before, more, own = (claim.arms[name] for name in (BEFORE, LABELLED, SELF))
    labelled = max(before.train.lengths)
    assert more.train.lengths == before.train.lengths == tuple(range(1, labelled + 1))
    assert own.train.lengths == tuple(range(labelled, 2 * labelled + 1)) and own.train.curriculum
    control = claim.control.arms[SELF]
    assert control.train == replace(own.train, accept="random", lr=own.train.lr / 300)
    assert own.parent == more.parent == control.parent == Parent(before)
    assert more.train.step_rows() == own.train.step_rows() and more.train.steps == own.train.steps
    assert more.train.objective == "next_token"
