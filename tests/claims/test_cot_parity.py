"""The claim cot-parity: which k are compared, and the median over architectures, by hand."""

from __future__ import annotations

import math
from itertools import product

import pytest

from lab.config import Experiment
from tests.claim_results import claim_of, with_accuracy


@pytest.mark.parametrize(("quick", "doublings"), [(0, 1), (7, 1), (8, 0.5), (9, 0)])
def test_the_median_of_sixteen_architectures(quick: int, doublings: float) -> None:
    """`quick` of them learn without a thought as soon as with one, the others never."""
    claim = claim_of("cot-parity", "gpu")
    shapes = [(len(e.model.stack()), e.model.heads) for e in claim.arms.values()]
    assert set(shapes) == set(product(range(1, 5), repeat=2)) and len(shapes) == 16 * 2 * 4
    soon = list(dict.fromkeys(shapes))[:quick]

    def exact(e: Experiment) -> float:
        return 1.0 if e.cot or (len(e.model.stack()), e.model.heads) in soon else 0.5

    measured = claim.measure({name: with_accuracy(e, exact(e)) for name, e in claim.arms.items()})
    every, most = 20 * 512, 19_531 * 512
    assert measured.value == pytest.approx(doublings * math.log2(most / every))
    growth = measured.series["growth_per_step_of_k"]
    assert len(growth) == 16 and growth["1 layers, 1 heads"] == {"CoT": 1.0, "no CoT": 1.0}


def test_both_are_compared_at_the_same_k() -> None:
    """With a thought k = 5 and 6 are run too: they change the growth and not the statistic."""
    claim = claim_of("cot-parity")
    k_of = {name: int(e.to_json()["task"]["k"]) for name, e in claim.arms.items()}
    assert [k_of[name] for name, e in claim.arms.items() if e.cot] == [1, 2, 3, 4, 5, 6]
    assert [k_of[name] for name, e in claim.arms.items() if not e.cot] == [1, 2, 3, 4]
    assert set(claim.control.arms) == {"CoT, k = 4"}
    every, most = 20 * 256, 1600 * 256
    for known in (4, 6):
        results = {
            name: with_accuracy(e, 1.0 if e.cot and k_of[name] <= known else 0.5)
            for name, e in claim.arms.items()
        }
        measured = claim.measure(results)
        assert measured.value == pytest.approx(math.log2(most / every))
        growth = (most / every) ** (1 / 5) if known == 4 else 1.0
        assert measured.series["growth_per_step_of_k"] == {
            "CoT": pytest.approx(growth),
            "no CoT": 1,
        }
