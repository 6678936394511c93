"""The claim path-tracking: errors of flip-flop by hand."""

from __future__ import annotations

import pytest

from tests.claim_results import claim_of, record_of


def test_errors_of_flipflop() -> None:
    claim = claim_of("path-tracking")
    read = {"path": (1.0, 0.99, 0.9), "rope": (0.8, 0.6, 1.0), "forget": (0.9, 0.7, 1.0)}
    read["none"] = (0.4, 0.5, 0.1)
    labels = ("trained", "sparse", "dense")
    accuracies = {
        f"flipflop, {name}": {(label, 64): v for label, v in zip(labels, values, strict=True)}
        for name, values in read.items()
    }
    record = record_of(claim, accuracies)
    assert record["verdict"] == "holds" and record["values"] == pytest.approx([0.29] * 6)
    assert record["series"][0]["dense"] == pytest.approx(
        {"path": 0.1, "rope": 0.0, "forget": 0.0, "none": 0.9}
    )
    control = record["negative_control"]
    assert control["verdict"] == "fails" and control["values"] == pytest.approx([-0.2] * 6)
    assert record_of(claim, {})["verdict"] == "fails", "all lost alike"
    for arm in claim.arms.values():
        assert arm.model.forget == (arm.slug == claim.arms["flipflop, forget"].slug)
