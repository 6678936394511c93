"""The claim overtraining: harm along tiny runs, its rank correlation, its control."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.analysis.interventions import exact_and_loss, noise_harm
from lab.analysis.subject import open_run
from lab.claims import overtraining
from lab.claims.overtraining import ARM, LEAST, correlation, harms, measure
from lab.config import Experiment, Parent
from lab.runs.run import run
from tests.claim_results import check_figure, claim_of

STEPS = [2.0**i for i in range(9)]


def test_the_control_goes_on_from_the_first_checkpoint_for_as_many_tokens() -> None:
    for scale in ("cpu", "gpu"):
        claim = claim_of("overtraining", scale)
        arm, slow = claim.arms[ARM], claim.control.arms[ARM]
        first = arm.train.keep_steps[0]
        assert slow.parent == Parent(arm, f"step-{first}")
        assert first + slow.train.steps == arm.train.steps == 16 * first
        steps = [*arm.train.keep_steps, arm.train.steps]
        ratios = {round(b / a, 1) for a, b in pairwise(steps)}
        assert ratios == {1.4} and len(steps) == 9
        assert [first + s for s in slow.train.keep_steps[1:]] == steps[1:-1]
        assert slow.train.lr == pytest.approx(arm.train.lr / 1000) and slow.train.warmup == 0


def tiny(e: Experiment) -> Experiment:
    train = replace(e.train, steps=8, batch=4, warmup=0, eval_every=4, keep_steps=(1, 4))
    own = replace(e, train=train, probes=tuple(replace(p, n=8) for p in e.probes))
    return (
        own
        if own.parent is None
        else replace(own, parent=Parent(tiny(own.parent.experiment), "step-4"))
    )


def test_harm_of_tiny_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overtraining, "ROWS", 16)
    monkeypatch.setattr(overtraining, "DRAWS", 2)
    claim = claim_of("overtraining")
    arm, slow = tiny(claim.arms[ARM]), tiny(claim.control.arms[ARM])
    result = run(arm, tmp_path, "cpu")
    found, seed = harms(result), arm.train.seed
    assert found["tokens"] == [step * 4 * 32 for step in (1, 4, 8)]
    assert harms(run(slow, tmp_path, "cpu"))["tokens"] == [step * 4 * 32 for step in (5, 8, 12)]
    subject = open_run(result.run, rows=1, at="step-4")
    held = arm.probes[0].of(arm.task)
    rows = held.sample(np.random.default_rng(seed), 16, 32)  # whole, a probe scores one token
    subject = replace(subject, batch=rows)
    assert found["loss"][1] == pytest.approx(exact_and_loss(subject)[1])
    rises = (noise_harm(subject, 0.5, True, 2, seed), noise_harm(subject, 0.02, False, 2, seed))
    assert (found["relative"][1], found["absolute"][1]) == pytest.approx(rises)
    told = measure({ARM: result})
    assert told.series == found and told.value == correlation(found["tokens"], found["relative"])


@given(st.permutations(range(2, 11)))
def test_rank_correlation_by_its_formula(ranks: list[int]) -> None:
    harm = [float(rank) for rank in ranks]
    d = [i - (rank - 2) for i, rank in enumerate(ranks)]
    formula = 1 - 6 * sum(x * x for x in d) / (9 * (81 - 1))
    expected = formula if ranks[-1] > LEAST * ranks[0] else 0.0
    assert correlation(STEPS, harm) == pytest.approx(expected, abs=1e-6)


def test_a_drift_is_no_harm() -> None:
    assert correlation(STEPS, [1 + i / 20 for i in range(9)]) == 0.0
    assert correlation(STEPS, [0.0] * 9) == correlation(STEPS, [3.0] * 9) == 0.0
    assert correlation(STEPS, [-0.01, *STEPS[1:]]) == 1.0


def test_the_figure(tmp_path: Path) -> None:
    claim = claim_of("overtraining")
    seeds = [
        {
            "tokens": [1e6 * step for step in STEPS],
            "loss": [1.1] * 9,
            "relative": [0.1 + up * i for i in range(9)],
        }
        for up in (0.05, 0.06, 0.001, 0.002)
    ]
    control = {"verdict": "fails", "values": [0.0] * 2, "why": claim.control.why}
    record = {
        "series": seeds[:2],
        "negative_control": {**control, "series": seeds[2:], "interval": None, "median": 0.0},
        "values": [1.0] * 2,
        "verdict": "holds",
        "threshold": claim.threshold,
        "above": True,
        "interval": None,
        "median": 1.0,
        "statistic": claim.statistic,
    }
    check_figure(claim, json.loads(json.dumps(record)), tmp_path / "figure.png")
