"""The claim cot-sparsity: its rank correlation, and its record from real run folders."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.claims.cot_sparsity import GUESSED, correlation
from lab.config import Experiment
from lab.config.experiment import from_json
from lab.runs.run import run
from lab.verdicts.protocol import Claim
from lab.verdicts.records import file_name, markdown, records
from lab.verdicts.verdict import record
from tests.claim_results import check_figure, claim_of


@given(st.lists(st.tuples(st.integers(0, 10), st.integers(0, 4)), min_size=2, max_size=9))
def test_rank_correlation_by_its_definition(points: list[tuple[int, int]]) -> None:
    def ranks(values: list[float]) -> np.ndarray:  # how many are below, and half of the ties
        return np.array([sum((w < v) + 0.5 * (w == v) for w in values) for v in values])

    exact, entropy = [a / 10 for a, _ in points], [[b / 4, (4 - b) / 2] for _, b in points]
    a, b = ranks([max(x, GUESSED) for x in exact]), ranks([sum(heads) for heads in entropy])
    a, b = a - a.mean(), b - b.mean()
    size = math.sqrt((a @ a) * (b @ b))
    expected = float(a @ b) / size if size else 0.0
    assert correlation(exact, entropy) == pytest.approx(expected, abs=1e-9)


def test_accuracy_that_only_guesses_has_no_correlation() -> None:
    falling = [[1 - i / 10, 0.5] for i in range(6)]
    assert correlation([0.01, 0.03, 0.15, 0.12, GUESSED, 0.1], falling) == 0.0
    assert correlation([0.01, 0.3, 0.5, 0.7, 0.9, 1.0], falling) < -0.9
    assert correlation([0.01, 0.3, 0.5, 0.7, 0.9, 1.0], [[0.5]] * 6) == 0.0


def tiny(claim: Claim) -> Claim:
    """The same claim with six steps of eight rows, a narrow model, one arm, two seeds."""

    def arm(e: Experiment) -> Experiment:
        short = replace(e.train, steps=6, batch=8, eval_every=1, eval_rows=16, keep_steps=(2, 3, 4))
        probes = tuple(replace(p, n=16) for p in e.probes)
        return replace(e, train=short, probes=probes, model=replace(e.model, width=16))

    control = {name: arm(e) for name, e in claim.control.arms.items()}
    arms = {"CoT": arm(claim.arms["CoT"])}
    return replace(claim, arms=arms, control=replace(claim.control, arms=control), seeds=2)


def test_a_claim_from_its_runs_to_its_figure(tmp_path: Path) -> None:
    """Untrained models, evaluated by the weights in their run folders: no accuracy, no claim."""
    claim = tiny(claim_of("cot-sparsity"))
    experiments = claim.experiments()
    assert len(experiments) == 4
    by_slug = {e.slug: run(e, tmp_path / "runs", "cpu") for e in experiments}
    made = record(claim, by_slug, "lab claim cot-sparsity --seeds 2")
    assert made["values"] == made["negative_control"]["values"] == [0.0, 0.0]
    assert made["verdict"] == "inconclusive" and made["diagnosis"]["cause"] == "seeds"
    first = next(iter(by_slug.values()))
    assert made["environment"] == first.environment, "all runs of one place"
    assert from_json(made["experiments"]["CoT"]) == claim.arms["CoT"]
    elsewhere = replace(first, environment={"git": "b", "kernels": {"a": 1}, "threads": 1})
    here = replace(first, environment={"git": "a", "kernels": {"b": 2}, "threads": 1})
    mixed = dict(zip(by_slug, (elsewhere, here, here, here), strict=True))
    joined = {"git": "a, b", "kernels": {"a": 1, "b": 2}, "threads": 1}
    assert record(claim, mixed, "")["environment"] == joined
    series = made["series"][0]["CoT"]
    assert series["steps"] == [2, 3, 4, 6]
    assert len(series["exact"]) == len(series["steps"])
    assert all(0 < e <= 1 for heads in series["entropy"] for e in heads)
    assert len(series["map"]) == 4 and len(series["map"][0]) == 19
    assert np.allclose(np.array(series["map"]).sum(1) <= 1.001, True)

    path = tmp_path / file_name("cot-sparsity", "cpu")
    path.write_text(json.dumps(made))
    (stored,) = records(tmp_path)
    assert stored == json.loads(json.dumps(made)) and stored["command"].endswith("--seeds 2")
    check_figure(claim, stored, tmp_path / "figure.png")
    lines = markdown([stored]).splitlines()
    assert len(lines) == 3 and {line.count("|") for line in lines} == {8}
    for text in ("`cot-sparsity`", "2410.05459", "**inconclusive** (seeds)", "at most -0.5"):
        assert text in lines[2]
    assert "| 0 to 0 (50%) | 0 of 2 |" in lines[2]
