"""The claim self-improvement: what counts as carrying further, and what each arm trains on."""

from __future__ import annotations

import pytest

from lab.claims.self_improvement import BEFORE, LABELLED, SELF
from lab.config import Parent
from lab.config.experiment import Scale
from tests.claim_results import Accuracies, claim_of, record_of


@pytest.mark.parametrize("scale", ["cpu", "gpu"])
def test_gain_at_twice_the_labelled_lengths(scale: Scale) -> None:
    claim = claim_of("self-improvement", scale)
    near, far = claim.arms[SELF].probes[0].length, claim.arms[SELF].probes[-1].length
    assert far == 2 * near

    def accuracies(before: float, labelled: float, own: float) -> dict[str, Accuracies]:
        ends = {BEFORE: before, LABELLED: labelled, SELF: own}
        return {
            name: {("held out", near): 1.0, ("held out", far): end} for name, end in ends.items()
        }

    seen = record_of(claim, accuracies(0.0, 0.125, 0.875))
    assert seen["verdict"] == "holds" and seen["values"] == [0.75] * 6
    assert seen["negative_control"]["verdict"] == "fails"
    assert seen["series"][0]["accuracy_by_length"][SELF][-1] == [far, 0.875]
    for ends in ((0.0, 0.5, 0.9), (0.5, 0.0, 0.9), (1.0, 1.0, 1.0), (0.0, 0.0, 0.4)):
        assert record_of(claim, accuracies(*ends))["verdict"] == "fails"


@pytest.mark.parametrize("scale", ["cpu", "gpu"])
def test_what_each_arm_trains_on(scale: Scale) -> None:
    claim = claim_of("self-improvement", scale)
    before, more, own = (claim.arms[name] for name in (BEFORE, LABELLED, SELF))
    labelled = max(before.train.lengths)
    assert more.train.lengths == before.train.lengths == tuple(range(1, labelled + 1))
    assert own.train.lengths == tuple(range(labelled, 2 * labelled + 1)) and own.train.curriculum
    control = claim.control.arms[SELF]
    assert (own.train.accept, control.train.accept) == ("answer", "random")
    assert own.parent == more.parent == control.parent == Parent(before)
    assert more.train.step_rows() == own.train.step_rows() and more.train.steps == own.train.steps
    assert more.train.objective == "next_token"
