"""The verdict over seeds by its definition, and the record of a claim from its runs."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.stats import over_seeds
from lab.verdicts.verdict import decide, evaluate_claim
from tests.claim_results import claim_of, from_arms

numbers = st.floats(-3, 3) | st.sampled_from([math.inf, -math.inf])


@given(st.lists(numbers, min_size=1, max_size=5), st.floats(-3, 3), st.booleans())
def test_the_verdict_by_its_definition(values: list[float], bar: float, above: bool) -> None:
    verdict, interval = decide(values, bar, above)
    if len(values) == 1:
        assert (verdict, interval) == ("inconclusive", None)
        return
    if any(map(math.isinf, values)):
        assert interval == (min(values), max(values))
    else:
        assert interval == over_seeds(values)
        assert min(values) - 1e-9 <= interval[0] <= interval[1] <= max(values) + 1e-9
    beyond = [end >= bar if above else end <= bar for end in interval]
    expected = "holds" if all(beyond) else "inconclusive" if any(beyond) else "fails"
    assert verdict == expected


def test_verdicts_that_are_known() -> None:
    assert decide([0.97, 0.99, 1.0], 0.95, True)[0] == "holds"
    assert decide([0.97, 0.99, 1.0], 0.95, False)[0] == "fails"
    assert decide([0.9, 0.95, 1.0], 0.95, True)[0] == "inconclusive"
    assert decide([0.5, 0.5], 0.5, True) == ("holds", (0.5, 0.5))
    assert decide([0.0, 0.0], -0.5, False) == ("fails", (0.0, 0.0))
    assert decide([math.inf, 3.0], 2.0, True) == ("holds", (3.0, math.inf))
    assert decide([math.inf, 1.0], 2.0, True)[0] == "inconclusive"
    assert decide([-math.inf, -math.inf], 2.0, True)[0] == "fails"
    with pytest.raises(ValueError, match="not a number"):
        decide([0.5, math.nan], 0.5, True)


def test_a_record_has_every_run_of_an_arm() -> None:
    claim = replace(claim_of("rnn-gap"), seeds=2)
    results = from_arms(claim, lambda arm: 0.9 if arm.startswith("mamba") else 0.7, lambda arm: 0.8)
    record = evaluate_claim(claim, results)
    assert record["values"] == pytest.approx([-0.2, -0.2]) and record["mean"] < 0
    other = record["negative_control"]
    assert other["values"] == pytest.approx([-0.1, -0.1]), "mamba against mamba of other seeds"
    assert other["verdict"] == "fails"
    assert [run["run"] for run in record["arms"]["mamba, n = 8"]] == [
        e.slug for e in claim.seeded(claim.arms["mamba, n = 8"])
    ]


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
