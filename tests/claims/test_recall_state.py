"""The claim recall-state: which states are small, counted by hand."""

from __future__ import annotations

from lab import registry
from lab.config.experiment import Scale
from tests.claim_results import claim_of, with_accuracy

SCALES: tuple[Scale, ...] = ("cpu", "gpu")


def test_which_states_are_small() -> None:
    """By hand: width 32 in four heads, 16 pairs; below each mixer but mamba, for each of 32
    channels, three tokens before this one and one number."""
    below = 32 * (3 + 1)
    numbers = {"gru": 32, "deltanet": 3 * 3 * 32 + 4 * 8 * 8}
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


def test_mixers_that_guess_at_two_pairs_are_no_arms_on_a_cpu() -> None:
    rates = {
        scale: {name: e.train.lr for name, e in claim_of("recall-state", scale).arms.items()}
        for scale in SCALES
    }
    mixers = ("attention", "based", "deltanet", "gru", "mamba")
    assert rates["cpu"] == {f"{m}, width 32": 9e-3 if m == "gru" else 3e-3 for m in mixers}
    every = {f"{m}, width {w}" for m in registry.names("mixers") for w in (64, 128)}
    assert rates["gpu"] == dict.fromkeys(every, 1e-3)
    for name, arm in claim_of("recall-state").control.arms.items():
        assert arm.train.lr == rates["cpu"][name]
