"""The claim questa: what counts as solved, and what the arms see."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lab.claims.questa import SHARES, WITH, WITHOUT
from lab.config.experiment import Scale
from lab.data.batches import batch_for_step, visible
from lab.verdicts.verdict import evaluate_claim
from tasks import Role
from tests.claim_results import claim_of, with_accuracies


def test_share_copied_without_a_prefix() -> None:
    claim = claim_of("questa")
    at = ("held out", claim.arms[WITH].probes[0].length)

    def record(own: float, none: float, other: float) -> dict[str, Any]:
        results = {}
        for arms, right in (
            (claim.arms, {WITH: own, WITHOUT: none}),
            (claim.control.arms, {WITH: other}),
        ):
            for name, arm in arms.items():
                ends = {at: right[name]}
                results |= {e.slug: with_accuracies(e, ends) for e in claim.seeded(arm)}
        return evaluate_claim(claim, results)

    seen = record(0.75, 0.125, 0.125)
    assert seen["verdict"] == "holds" and seen["values"] == [0.625] * 6
    assert seen["negative_control"]["verdict"] == "fails"
    assert seen["series"][0]["solved"] == {WITH: 0.75, WITHOUT: 0.125}
    assert record(0.75, 0.125, 0.75)["verdict"] == "inconclusive", "any prefix does"
    for own, none in ((0.25, 0.0), (1.0, 1.0), (0.9, 0.7), (0.0, 1.0)):
        assert record(own, none, 0.0)["verdict"] == "fails"


@pytest.mark.parametrize("scale", ["cpu", "gpu"])
def test_arms_differ_in_their_prefixes_alone(scale: Scale) -> None:
    claim = claim_of("questa", scale)
    own, none, other = claim.arms[WITH], claim.arms[WITHOUT], claim.control.arms[WITH]
    plain = replace(own.train, reveal=(), lr=none.train.lr)
    assert none == replace(own, train=plain)
    foreign = replace(own.train, reveal_of="other", lr=other.train.lr)
    assert other == replace(own, train=foreign)
    steps = own.train.steps
    part = claim.arms[WITH].train.steps // len(SHARES)
    draws = [batch_for_step(e) for e in (own, none, other)]
    for number, share in enumerate(SHARES):
        seen, alone, another = (draw(min(number * part, steps - 1)) for draw in draws)
        answer = alone.roles == Role.ANSWER
        given = answer & (seen.roles == Role.PROMPT)
        assert (given.sum(1) == (share * answer.sum(1)).astype(int)).all()
        assert np.array_equal(seen.tokens, alone.tokens)
        assert np.array_equal(another.roles, seen.roles)
        changed = another.tokens != seen.tokens
        assert not changed[~given].any() and changed.any() == (share > 0)
    rows = own.task.sample(np.random.default_rng(0), 2, own.probes[0].length)
    assert np.array_equal(visible(own, rows).roles, rows.roles), "a probe has no prefix"
