"""The claim skill-neurons: what is measured of a run, its rules and its figure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lab.analysis.analyses import neurons
from lab.analysis.analyses.neurons import Neurons, Step
from lab.claims import skill_neurons
from lab.claims.skill_neurons import ARM, OFF, found
from lab.results.result import Result
from lab.runs.run import run
from lab.verdicts.verdict import evaluate_claim
from tests.claim_results import check_figure, claim_of, with_accuracy


def test_a_run_is_measured_by_the_analysis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On held-out rows, with random sets of the run's own seed; the mean over them is kept."""
    seen: dict[str, Any] = {}

    def analyze(subject: Any, top: tuple[int, ...], seed: int) -> Neurons:
        seen.update(split=subject.task.split, rows=len(subject.batch), top=top, seed=seed)
        steps = (Step(3, 0.25, (0.5, 1.0)),)
        return Neurons("1", 0.5, 1.0, ((0, 1), (0, 0)), steps, {0: (0.6, 0.9)})

    monkeypatch.setattr(neurons, "analyze", analyze)
    arm = claim_of("skill-neurons").arms[ARM]
    train = replace(arm.train, steps=1, batch=4, eval_every=0, eval_rows=0, eval_answers=True)
    probes = tuple(replace(probe, n=8) for probe in arm.probes)
    result = run(replace(arm, train=train, probes=probes), tmp_path, "cpu")
    without = {"3": {"best": 0.25, "others": 0.75}}
    assert found(result, [3]) == {"accuracy": 1.0, "without": without, "best": [0.9, 0.6]}
    assert seen == {"split": "test", "rows": 512, "top": (3,), "seed": 20}


@pytest.mark.parametrize(
    ("fall", "accuracy", "verdict", "learned"),
    [(0.5, 1.0, "holds", True), (0.1, 1.0, "fails", True), (0.0, 0.5, "fails", False)],
)
def test_what_holds(
    fall: float,
    accuracy: float,
    verdict: str,
    learned: bool,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """The second number of neurons counts, whatever the others cost."""

    def of(result: Result, off: Sequence[int]) -> dict[str, Any]:
        assert off == OFF["cpu"]
        coin = result.experiment["task"]["noise"] > 0
        without = {str(n): {"others": 0.9, "best": 0.1} for n in off}
        without["16"] = {"others": 0.875, "best": 0.875 - (0 if coin else fall)}
        return {"accuracy": accuracy, "without": without, "best": [0.9]}

    monkeypatch.setattr(skill_neurons, "found", of)
    claim = claim_of("skill-neurons")
    results = {e.slug: with_accuracy(e, accuracy) for e in claim.experiments()}
    record = json.loads(json.dumps(evaluate_claim(claim, results)))
    assert record["verdict"] == verdict and record["values"] == pytest.approx([fall] * 6)
    assert record["negative_control"]["values"] == [0.0] * 6
    assert claim.precondition is not None
    assert (claim.precondition(record["series"]) is None) == learned
    check_figure(claim, record, tmp_path / "cpu.png")


def test_the_control_differs_in_its_labels_alone() -> None:
    claim = claim_of("skill-neurons")
    own, coin = claim.arms[ARM], claim.control.arms[ARM]
    task: Any = coin.task
    assert task.noise == 0.5 and replace(coin, task=replace(task, noise=0.0)) == own
    assert own.cot
