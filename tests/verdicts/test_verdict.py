"""The verdict over seeds by its definition, and the record of a claim from its runs."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.stats import over_seeds
from lab.verdicts.records import beyond, in_words
from lab.verdicts.verdict import decide, evaluate_claim
from tests.claim_results import claim_of, from_arms

numbers = st.floats(-3, 3) | st.sampled_from([math.inf, -math.inf])


@given(st.lists(numbers, min_size=1, max_size=12), st.floats(-3, 3), st.booleans())
def test_the_verdict_by_its_definition(values: list[float], bar: float, above: bool) -> None:
    """By counting seeds: how many may stray, none of 6 and 7, one of 8, so that as few heads of
    fair coins, at either end, have a probability of 5% at most."""
    verdict, over = decide(values, bar, above)
    n, beyond = len(values), sum(value >= bar if above else value <= bar for value in values)
    expected = over_seeds(values, "low" if above else "high")
    assert (over and over.interval) == (expected and expected.interval)
    strays = {6: (0, 0), 7: (0, 0), 8: (1, 0), 9: (1, 1), 10: (1, 1), 11: (2, 1), 12: (2, 2)}
    if n < 6:
        assert verdict == "inconclusive"
        return
    holds, fails = strays[n]
    right = "holds" if n - beyond <= holds else "fails" if beyond <= fails else "inconclusive"
    assert verdict == right


def test_verdicts_that_are_known() -> None:
    def of(values: list[float], bar: float, above: bool) -> str:
        return decide(values, bar, above)[0]

    good = [0.97, 0.99, 1.0, 0.98, 0.96, 0.99]
    assert (of(good, 0.95, True), of(good, 0.95, False)) == ("holds", "fails")
    assert of([*good[:5], 0.9], 0.95, True) == "inconclusive"
    assert of(good[:5], 0.95, True) == of(good[:1], 0.95, True) == "inconclusive"
    assert of([*good, 0.9, 0.97], 0.95, True) == "holds"  # 7 of 8
    assert of([*good, 0.9, 0.9], 0.95, True) == "inconclusive"
    assert of([0.0] * 6, -0.5, False) == "fails" and of([0.5] * 6, 0.5, True) == "holds"
    assert of([math.inf] * 5 + [3.0], 2.0, True) == "holds"
    assert of([math.inf] * 5 + [1.0], 2.0, True) == "inconclusive"
    assert of([-math.inf] * 6, 2.0, True) == "fails"
    with pytest.raises(ValueError, match="not a number"):
        decide([0.5, math.nan], 0.5, True)


def test_a_record_has_every_run_of_an_arm() -> None:
    claim = claim_of("rnn-gap")
    kinds = {"transformer": 1.0, "hybrid": 1.0, "mamba": 0.9, "mamba with retrieval": 0.7}
    results = from_arms(claim, lambda arm: kinds[arm.partition(",")[0]], lambda arm: 0.8)
    record = evaluate_claim(claim, results)
    assert record["values"] == pytest.approx([-0.2] * 6)
    assert record["median"] == pytest.approx(-0.2) and record["coverage"] == 1 - 2 / 2**6
    other = record["negative_control"]
    assert other["values"] == pytest.approx([-0.1] * 6), "the control's own runs"
    assert other["verdict"] == "fails"
    assert [run["run"] for run in record["arms"]["mamba, n = 8"]] == [
        e.slug for e in claim.seeded(claim.arms["mamba, n = 8"])
    ]


def test_fewer_than_six_seeds_decide_nothing_and_say_so() -> None:
    claim = replace(claim_of("rnn-gap"), seeds=3)
    results = from_arms(
        claim, lambda arm: 0.6 if arm.startswith("mamba,") else 1.0, lambda arm: 0.6
    )
    record = evaluate_claim(claim, results)
    assert record["verdict"] == record["negative_control"]["verdict"] == "inconclusive"
    assert record["diagnosis"] == {"cause": "seeds", "why": "3 seeds: at least 6 are needed"}
    assert (record["coverage"], beyond(record)) == (0.75, "3 of 3")
    assert in_words(record) == (
        "median 0.4, 0.4 to 0.4 (all 3 seeds; covers the median with 75%, not a 95% interval)"
    )
    alone = evaluate_claim(replace(claim, seeds=1), results)
    assert (alone["verdict"], alone["interval"], alone["coverage"]) == ("inconclusive", None, None)
    assert in_words(alone, control=True) == "0 (one seed)"


@pytest.mark.parametrize(("evaluations", "kept"), [(0, 0), (1, 1), (20, 20), (21, 11), (80, 20)])
def test_a_record_keeps_some_points_of_a_curve(evaluations: int, kept: int) -> None:
    claim = replace(claim_of("rnn-gap"), seeds=2)
    results = from_arms(claim, lambda arm: 0.5, lambda arm: 0.5)
    row = next(iter(results.values())).curves[0]
    many = [{**row, "rows": 64 * i} for i in range(evaluations)]
    results = {slug: replace(r, curves=many) for slug, r in results.items()}
    curve = evaluate_claim(claim, results)["arms"]["mamba, n = 8"][0]["curve"]
    assert len(curve) == kept and curve == sorted(curve)
    assert not kept or curve[0] == [0, [0.5]]
