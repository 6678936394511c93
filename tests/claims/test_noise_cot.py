"""The claim noise-cot: accuracy by kind and share of noise."""

from __future__ import annotations

import pytest

from tests.claim_results import Accuracies, claim_of, record_of


def test_noise_by_share() -> None:
    claim = claim_of("noise-cot")

    def accuracies(static: float, dynamic: float) -> dict[str, Accuracies]:
        at = ("held out", 16)
        return {
            name: {at: static if name.startswith(("static", "no")) else dynamic}
            for name in claim.arms
        }

    seen = record_of(claim, accuracies(1.0, 0.5))
    assert seen["verdict"] == "holds" and seen["values"] == pytest.approx([0.5] * 6)
    assert seen["negative_control"]["values"] == [0.0] * 6
    assert seen["negative_control"]["verdict"] == "fails"
    curve = seen["series"][0]["by_share"]["dynamic"]
    assert curve == [[0.0, 1.0], [0.5, 0.5], [0.75, 0.5], [1.0, 0.5]]
    for static, dynamic in ((0.5, 0.5), (1.0, 1.0), (0.6, 0.5), (0.5, 1.0)):
        assert record_of(claim, accuracies(static, dynamic))["verdict"] == "fails"
    for name, arm in claim.arms.items():
        shares = {"static": arm.train.cot_noise == "static", "no noise": True}
        assert shares.get(name.partition(",")[0], arm.train.cot_noise == "dynamic")
        assert (arm.train.cot_noise == "none") == (name == "no noise")
