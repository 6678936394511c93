"""Which learning rate an arm of a claim should have, by its first probe alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from lab.config import Experiment
from lab.results.result import Result
from lab.results.summary import samples_to
from lab.verdicts.protocol import Claim, with_disjoint_seeds
from lab.verdicts.rates import TRIAL_SEED, compare_rates, trials
from tests.claim_results import NAMES, claim_of, with_accuracy


def result_of(e: Experiment, rows: int | None, exact: float, high: float) -> Result:
    """A finished run with this accuracy of the first probe at the end, that learned it after so
    many rows, or never."""
    made = with_accuracy(e, exact)
    first = replace(made.scores[0], low=exact - 0.1, high=high)
    scores = [{"probe": first.probe, "length": first.length, "exact": 1.0 if rows else 0.0}]
    learned = samples_to([{"rows": rows or 9999, "scores": scores}], 0.5)
    return replace(made, scores=(first, *made.scores[1:]), learned=learned)


def best(claim: Claim, result: Callable[[float], Result | None]) -> float:
    """The best rate of the one arm of a claim, whose own is 1e-3; no result: it diverged."""
    made = {e.slug: result(rate) for rate, e in trials(claim)["only"].items()}
    ended = {slug: one for slug, one in made.items() if one}
    arm = compare_rates(claim, ended)["arms"]["only"]
    assert [trial["exact"] is None for trial in arm["trials"]] == [not r for r in made.values()]
    found: float = arm["best"]
    return found


@pytest.mark.parametrize(
    ("below", "own", "above", "expected"),
    [
        (0.1, 0.5, 0.2, 1e-3),
        (0.1, 0.5, 0.9, 3e-3),
        (0.9, 0.5, 0.7, 3.3e-4),
        (0.65, 0.6, 0.65, 1e-3),  # within the interval of its own
        (0.1, 0.3, 0.55, 1e-3),  # a coin
        (0.0, 0.0, 0.0, 1e-3),
        (0.1, 0.5, None, 1e-3),  # it diverged
        (0.9, None, None, 3.3e-4),
        (0.5, None, None, 1e-3),  # a coin
        (None, None, None, 1e-3),
    ],
)
def test_by_accuracy(
    below: float | None, own: float | None, above: float | None, expected: float
) -> None:
    claim = claim_of("noise-cot")
    claim = alone(claim, next(iter(claim.arms.values())), early_stop=False)
    exact = dict(zip(trials(claim)["only"], (below, own, above), strict=True))
    made = trials(claim)["only"]

    def result(rate: float) -> Result | None:
        share = exact[rate]
        return None if share is None else result_of(made[rate], None, share, share + 0.1)

    assert best(claim, result) == expected


@pytest.mark.parametrize(
    ("below", "own", "above", "expected"),
    [
        (50_000, 40_000, 60_000, 1e-3),
        (50_000, 40_000, 30_000, 3e-3),
        (50_000, 40_000, 33_000, 1e-3),  # not many fewer
        (5_120, 10_240, 20_480, 1e-3),  # an evaluation is made every 5,120 rows
        (5_120, 10_241, 20_480, 3.3e-4),
        (50_000, None, None, 3.3e-4),
        (None, 40_000, 20_000, 3e-3),
        (None, None, None, 1e-3),
    ],
)
def test_by_rows(below: int | None, own: int | None, above: int | None, expected: float) -> None:
    claim = claim_of("noise-cot")
    claim = alone(claim, next(iter(claim.arms.values())), early_stop=True)
    made = trials(claim)["only"]
    rows = dict(zip(made, (below, own, above), strict=True))
    assert best(claim, lambda r: result_of(made[r], rows[r], 0.5, 0.6)) == expected


def alone(claim: Claim, arm: Experiment, early_stop: bool) -> Claim:
    """A claim of one arm at rate 1e-3."""
    arm = replace(arm, train=replace(arm.train, lr=1e-3, early_stop=early_stop, eval_every=20))
    control = replace(claim.control, arms={"only": with_disjoint_seeds(arm)})
    return replace(claim, arms={"only": arm}, control=control, treatment_arm="only")


@pytest.mark.parametrize("name", NAMES)
def test_every_arm_is_tried_once_with_a_seed_that_no_record_has(name: str) -> None:
    claim = claim_of(name)
    tried = trials(claim)
    slugs = [e.slug for own in tried.values() for e in own.values()]
    assert len(slugs) == len(set(slugs))
    assert not set(slugs) & {e.slug for e in claim.experiments()}
    for arm in [*claim.arms.values(), *claim.control.arms.values()]:
        own = replace(arm, train=replace(arm.train, seed=TRIAL_SEED))
        assert own.slug in slugs
    for own in tried.values():
        low, middle, high = own
        assert [middle / low, high / middle] == pytest.approx([3, 3], rel=0.05)
        assert {e.train.seed for e in own.values()} == {TRIAL_SEED}
        assert [e.train.lr for e in own.values()] == [low, middle, high]
