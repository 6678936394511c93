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


def test_the_tasks_beside_it_do_not_enter_the_statistic() -> None:
    """Words in S3 and A5 and the last, second and third last value of 2 keys: PaTH and RoPE."""
    claim = claim_of("path-tracking")
    beside = [name for name in claim.arms if not name.startswith("flipflop")]
    tasks = ["S3 at depth 1", "A5 at depth 1", *(f"recall of last {nth}" for nth in (1, 2, 3))]
    assert beside == [f"{task}, {name}" for task in tasks for name in ("path", "rope")]
    accuracies = {name: {("held out", 2): 0.75, ("held out", 1): 0.5} for name in beside}
    record = record_of(claim, accuracies)
    assert record["values"] == [0.0] * 6
    right = record["series"][0]["right"]
    assert right == {name: 0.75 if name.startswith("recall") else 0.0 for name in beside}
