"""The claim rnn-gap: no answer counts as chance, and models have the same size."""

from __future__ import annotations

import pytest
import torch

from lab.nn.model import Model
from tests.claim_results import claim_of, with_accuracy


def test_a_model_that_never_answers_counts_as_chance() -> None:
    claim = claim_of("rnn-gap")
    results = {
        name: with_accuracy(e, 0.55 if "transf" in name else 0.0) for name, e in claim.arms.items()
    }
    assert claim.measure(results).value == pytest.approx(0.05)


@pytest.mark.parametrize("scale", ["cpu", "gpu"])
def test_models_of_the_gap_have_equal_parameters(scale: str) -> None:
    sizes = {}
    for e in claim_of("rnn-gap", scale).arms.values():  # type: ignore[arg-type]
        if e.model not in sizes:
            with torch.device("meta"):
                model = Model(e.model, len(e.task.words))
            sizes[e.model] = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert len(sizes) == 3 and max(sizes.values()) <= 1.15 * min(sizes.values()), sizes
