"""The claim wise-ft: Pass@k of tiny runs, its rules, its control."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lab.analysis.subject import load_model
from lab.claims import wise_ft
from lab.claims.wise_ft import ARM, measure, regained
from lab.config import Experiment, Parent, Probe
from lab.evaluation.sampling import sample
from lab.runs.run import run
from lab.verdicts.protocol import SEED_OFFSET
from tasks.addition import Addition
from tests.claim_results import check_figure, claim_of


def tiny(e: Experiment) -> Experiment:
    """Sums of one binary digit, of which even a narrow model soon has some right."""
    assert e.parent is not None
    rows, model = e.parent.experiment, replace(e.model, width=16, layers="attention")
    short = replace(rows.train, steps=12, batch=16, lengths=(1,), warmup=0, lr=0.01, eval_every=6)
    kept = tuple(range(1, 1 + len(e.train.keep_steps)))
    few = replace(e.train, steps=4, batch=8, lengths=(1,), warmup=0, lr=0.02, keep_steps=kept)
    own = replace(rows, task=Addition(2), model=model, train=replace(short, early_stop=False))
    own = replace(own, probes=(Probe("rows", 1, {}, 256),))
    return replace(own, name=e.name, train=replace(few, eval_every=2), parent=Parent(own))


def test_pass_at_k_of_tiny_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The average is of the last weights with the last checkpoint that is kept before them."""
    monkeypatch.setattr(wise_ft, "SAMPLES", 4)
    claim = claim_of("wise-ft")
    for arm, other in ((claim.arms[ARM], 1), (claim.control.arms[ARM], 2)):
        e = tiny(arm)
        run(e.parent.experiment, tmp_path, "cpu")  # type: ignore[union-attr]
        result = run(e, tmp_path, "cpu")
        found = measure({ARM: result})
        first, kept, last = (load_model(result.run, f"step-{s}")[1] for s in (1, other, 4))
        hot = {"early": first, "late": last, "hotter": last, "average": kept}
        for name, model in hot.items():
            if name == "average":
                for a, b in zip(model.parameters(), last.parameters(), strict=True):
                    a.data = (a.detach() + b.detach()) / 2
            drawn = sample(model, e, e.probes[0], 4, 2.0 if name == "hotter" else 1.0)
            assert found.series[name] == {str(k): one.value for k, one in drawn.passes.items()}
        assert found.value == regained(found.series) and len(found.series) == 4
        assert len({one["1"] for one in found.series.values()}) == 4, "models that differ"


def passed(
    early: tuple[float, float], average: tuple[float, float], late: tuple[float, float]
) -> Any:
    own = {"early": early, "average": average, "late": late, "hotter": late}
    return {name: {"1": one, "16": most} for name, (one, most) in own.items()}


@pytest.mark.parametrize(
    ("early", "average", "late", "share"),
    [
        ((0.3, 0.9), (0.4, 0.8), (0.4, 0.7), 0.5),
        ((0.3, 0.9), (0.37, 0.95), (0.4, 0.7), 1.25),
        ((0.3, 0.9), (0.35, 0.9), (0.4, 0.7), 0.0),  # loses Pass@1
        ((0.4, 0.9), (0.4, 0.9), (0.4, 0.7), 0.0),  # fine-tuning did not raise it
        ((0.3, 0.74), (0.4, 0.74), (0.4, 0.7), 0.0),  # nothing to regain
        ((0.3, 0.9), (0.4, 0.6), (0.4, 0.7), -0.5),
    ],
)
def test_the_share_regained(early: Any, average: Any, late: Any, share: float) -> None:
    assert regained(passed(early, average, late)) == pytest.approx(share)


def test_the_control_averages_two_late_checkpoints() -> None:
    for scale in ("cpu", "gpu"):
        claim = claim_of("wise-ft", scale)
        arm, control = claim.arms[ARM].train, claim.control.arms[ARM].train
        assert control.seed == arm.seed + SEED_OFFSET
        (early,), late = arm.keep_steps, control.keep_steps[1]
        assert control.keep_steps[0] == early < arm.steps / 5 and arm.steps / 2 < late < arm.steps
        assert replace(control, keep_steps=(early,), seed=arm.seed) == arm
    assert wise_ft.SHARE == 0.5


def test_the_figure(tmp_path: Path) -> None:
    claim = claim_of("wise-ft")
    rows = {"early": 0.9, "average": 0.8, "late": 0.7, "hotter": 0.75}
    seed = {
        name: {str(2**i): most * (0.5 + i / 8) for i in range(5)} for name, most in rows.items()
    }
    sides = {"series": [seed] * 2, "values": [0.6, 0.7], "interval": None, "median": 0.65}
    control = {**sides, "verdict": "fails", "values": [0.0, 0.1], "why": claim.control.why}
    told = {"threshold": claim.threshold, "above": True, "statistic": claim.statistic}
    record = {**sides, **told, "verdict": "holds", "negative_control": control}
    check_figure(claim, json.loads(json.dumps(record)), tmp_path / "figure.png")
