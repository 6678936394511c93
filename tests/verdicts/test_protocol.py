"""The protocol of a claim: names that must fit, seeds, and runs that are needed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lab.cli import claim as command
from lab.verdicts.protocol import MOST_SEEDS, SEED_OFFSET, Control, with_disjoint_seeds
from tests.claim_results import claim_of


def test_a_control_that_replaces_nothing_is_refused() -> None:
    claim = claim_of("rnn-gap")
    stray = Control("nothing", {"transfromer": next(iter(claim.arms.values()))})
    with pytest.raises(ValueError, match=r"replaces no arm: \['transfromer'"):
        replace(claim, control=stray)


def test_a_treatment_arm_that_is_no_arm_is_refused() -> None:
    with pytest.raises(ValueError, match="the treatment_arm of rnn-gap is no arm: 'nobody'"):
        replace(claim_of("rnn-gap"), treatment_arm="nobody")


def test_every_run_once_by_arm_and_seed() -> None:
    claim = replace(claim_of("rnn-gap"), seeds=2)
    arms = [*claim.arms.values(), *claim.control.arms.values()]
    assert claim.experiments() == [e for arm in arms for e in claim.seeded(arm)]
    again = replace(claim, control=Control("none", {next(iter(claim.arms)): arms[1]}))
    assert again.experiments() == claim.experiments()[: 2 * len(claim.arms)]


def test_disjoint_seeds() -> None:
    arm = claim_of("recall-state").arms["gru, width 32"]
    other = with_disjoint_seeds(arm)
    assert arm.train.seed == 20 and other.train.seed == 20 + SEED_OFFSET
    assert replace(other, train=replace(other.train, seed=20)) == arm


def test_the_command_allows_as_many_seeds_as_the_protocol() -> None:
    assert command.MOST_SEEDS == MOST_SEEDS
