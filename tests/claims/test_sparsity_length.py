"""The claim sparsity-length: what makes it hold, what must not, leads by hand, position ids."""

from __future__ import annotations

import numpy as np
import pytest

from lab.config import Experiment
from lab.config.experiment import Scale
from lab.data.batches import visible
from lab.data.position_ids import position_ids
from tests.claim_results import LENGTH_CASES, by_length, claim_of, length_case, record_of


@pytest.mark.parametrize("case", LENGTH_CASES)
def test_a_lead_in_length_needs_arms_that_had_something_to_lose(case: str) -> None:
    others = ("copy, learned", "copy, rope")
    record = record_of(
        claim_of("sparsity-length"), length_case(case, "copy, predicted", others, (8, 12, 16))
    )
    assert record["verdict"] == ("holds" if case == "seen" else "fails"), record["values"]
    assert record["negative_control"]["verdict"] == "fails", "another arm in its own place"


def test_leads_by_hand() -> None:
    claim = claim_of("sparsity-length")
    accuracies = {
        "copy, predicted": by_length((8, 12, 16), 1.0, 0.9, 0.8),
        "copy, coupled": by_length((8, 12, 16), 1.0, 1.0, 1.0),
        "copy, learned": by_length((8, 12, 16), 0.5, 0.3, 0.1),
        "copy, rope": by_length((8, 12, 16), 0.9, 0.3, 0.2),
        "planted, k = 2": by_length((16, 32, 64), 1.0, 0.9, 0.7),
    }
    record = record_of(claim, accuracies)
    assert record["values"] == pytest.approx([0.6] * 6), "0.8 - 0.2; coupled is no plain arm"
    assert record["series"][0]["accuracy"]["planted, k = 2"] == [[16, 1.0], [32, 0.9], [64, 0.7]]
    assert record["negative_control"]["values"] == pytest.approx([-0.1] * 6), "learned in its place"


@pytest.mark.parametrize("scale", ["cpu", "gpu"])
def test_position_ids_of_copy_and_addition_are_all_trained(scale: Scale) -> None:
    """With position ids that start at random, training has every id of the longest test row."""
    for name, e in claim_of("sparsity-length", scale).arms.items():
        if e.model.position not in ("learned", "coupled", "predicted"):
            assert not e.train.offset
            continue

        def highest(length: int, e: Experiment = e) -> int:
            rows = visible(e, e.task.sample(np.random.default_rng(0), 2, length))
            ids = position_ids(e.task, e.model, rows)
            return rows.tokens.shape[1] - 1 if ids is None else int(ids.max())

        trained = highest(max(e.train.lengths)) + e.train.offset
        assert max(highest(p.length) for p in e.probes) <= trained < e.model.max_positions, name
