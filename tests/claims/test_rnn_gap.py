"""The claim rnn-gap: both leads count, no answer counts as chance, and models have one size."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lab.nn.model import Model
from tests.claim_results import claim_of, with_accuracy


def test_a_model_that_never_answers_counts_as_chance() -> None:
    claim = claim_of("rnn-gap")
    results = {
        name: with_accuracy(e, 0.0 if name.startswith("mamba,") else 0.55)
        for name, e in claim.arms.items()
    }
    assert claim.measure(results).value == pytest.approx(0.05)


@pytest.mark.parametrize(("tool", "value"), [(0.9, 0.1), (0.65, 0.05), (0.5, -0.1)])
def test_the_smaller_lead_at_the_largest_n_counts(tool: float, value: float) -> None:
    """By hand: at n = 12 the transformer has 0.7 and mamba 0.6; the lead by the tool varies."""
    claim = claim_of("rnn-gap")
    right = {"transformer": (1.0, 0.7), "mamba with retrieval": (tool, tool)}
    results = {}
    for name, e in claim.arms.items():
        kind, _, n = name.partition(", n = ")
        results[name] = with_accuracy(e, right.get(kind, (0.6, 0.6))[n == "12"])
    measured = claim.measure(results)
    assert measured.value == pytest.approx(value)
    for name, e in claim.arms.items():
        rows, gain = measured.series["rows_and_late_gain"][name]
        assert (rows, gain) == (e.train.steps * e.train.batch, 0.0)


@pytest.mark.parametrize("scale", ["cpu", "gpu"])
def test_the_control_takes_the_tools_answers_away(scale: str) -> None:
    """Nothing else of the runs with a tool changes; the rows are as long."""
    claim = claim_of("rnn-gap", scale)  # type: ignore[arg-type]
    most = max(e.probes[0].length for e in claim.arms.values())
    assert set(claim.control.arms) == {f"mamba with retrieval, n = {most}"}
    for name, changed in claim.control.arms.items():
        assert changed.task.replies == "random"  # type: ignore[attr-defined]
        assert replace(changed, task=claim.arms[name].task) == claim.arms[name]


@pytest.mark.parametrize("scale", ["cpu", "gpu"])
def test_models_of_the_gap_have_equal_parameters(scale: str) -> None:
    sizes = {}
    for e in claim_of("rnn-gap", scale).arms.values():  # type: ignore[arg-type]
        if e.model not in sizes:
            with torch.device("meta"):
                model = Model(e.model, len(e.task.words))
            sizes[e.model] = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert len(sizes) == 3 and max(sizes.values()) <= 1.15 * min(sizes.values()), sizes
