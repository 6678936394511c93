"""The claim jrt-order: leads by hand, what its control takes away, and its arms."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lab.claims.jrt_order import ORDERS, STACKS, TWICE
from lab.config.experiment import Scale
from lab.verdicts.verdict import evaluate_claim
from tests.claim_results import check_figure, claim_of, with_accuracies

Pair = tuple[float, float]


def record(gru: Pair, lstm: Pair, attention: Pair = (1.0, 1.0)) -> dict[str, Any]:
    """Of accuracies with the short and with the long set first."""
    claim = claim_of("jrt-order")
    own: dict[str, Pair] = dict(zip(STACKS, (gru, lstm), strict=True)) | {TWICE: (0.9, 0.9)}
    blind = dict.fromkeys(STACKS, attention)
    results = {}
    for arms, pairs in ((claim.arms, own), (claim.control.arms, blind)):
        for name, arm in arms.items():
            ends = {(order, 48): right for order, right in zip(ORDERS, pairs[name], strict=True)}
            results |= {e.slug: with_accuracies(e, ends) for e in claim.seeded(arm)}
    return evaluate_claim(claim, results)


def test_the_mean_lead_of_the_short_set_decides() -> None:
    seen = record((1.0, 0.75), (1.0, 0.9))
    assert seen["verdict"] == "holds" and seen["values"] == pytest.approx([0.175] * 6)
    assert seen["negative_control"]["values"] == [0.0] * 6
    check_figure(claim_of("jrt-order"), seen)
    assert record((1.0, 1.0), (1.0, 0.9))["verdict"] == "fails"
    assert record((0.75, 1.0), (0.9, 1.0))["verdict"] == "fails"
    for unlearned in ((0.5, 0.5), (0.7, 0.2)):
        seen = record((1.0, 0.75), unlearned)
        assert seen["values"] == [0.0] * 6
        assert seen["verdict"] == "fails" and "mamba and LSTM" in seen["diagnosis"]["why"]


def test_an_order_that_is_easier_for_attention_too_is_no_claim() -> None:
    assert record((1.0, 0.75), (1.0, 0.75), (1.0, 0.75))["verdict"] == "inconclusive"


@pytest.mark.parametrize("scale", ["cpu", "gpu"])
def test_arms_differ_in_the_mixer_and_its_rate(scale: Scale) -> None:
    claim = claim_of("jrt-order", scale)
    one = next(iter(claim.arms.values()))
    longest = max(one.train.lengths)
    assert [(p.label, p.length) for p in one.probes[:2]] == [(order, longest) for order in ORDERS]
    for name, control in claim.control.arms.items():
        arm = claim.arms[name]
        same = replace(arm.model, layers=one.model.layers)
        assert replace(arm, model=same, train=replace(arm.train, lr=one.train.lr)) == one
        plain = replace(control.model, layers=one.model.layers, position="none")
        assert replace(control, model=plain, train=one.train) == one
        assert set(control.model.stack()) == {"attention"}
        assert control.train.seed != one.train.seed
        assert replace(control.train, seed=one.train.seed) == one.train
    twice = claim.arms[TWICE]
    assert twice.prompt_repeats == 2 and 2 * twice.train.steps == one.train.steps
    assert replace(twice, prompt_repeats=1, train=one.train) == one
