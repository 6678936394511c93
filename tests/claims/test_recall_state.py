"""The claim recall-state: which states are small, counted by hand."""

from __future__ import annotations

from tests.claim_results import claim_of, with_accuracy


def test_which_states_are_small() -> None:
    """By hand: width 32 in four heads, 16 pairs; below each mixer but mamba, for each of 32
    channels, three tokens before this one and one number."""
    below = 32 * (3 + 1)
    numbers = {"gru": 32, "lstm": 64, "linear": 4 * 8 * 8}
    numbers["deltanet"] = 3 * 3 * 32 + 4 * 8 * 8
    assert all(below + size < 2 * 16 * 32 for size in numbers.values())
    claim = claim_of("recall-state")
    assert set(claim.control.arms) == {f"{name}, width 32" for name in [*numbers, "attention"]}
    assert {(e.train.lengths, e.probes[0].length) for e in claim.control.arms.values()} == {
        ((2,), 2)
    }
    results = {name: with_accuracy(e, 0.5) for name, e in claim.arms.items()}
    points = claim.measure(results).series["state_and_accuracy"]
    assert points["mamba, width 32"] == [2 * 64 * (3 + 16), 0.5]
    for name, size in numbers.items():
        assert points[f"{name}, width 32"] == [below + size, 0.5]
    large = ("attention", "based", "mamba")
    assert min(points[f"{name}, width 32"][0] for name in large) > 2 * 16 * 32
