"""The claim circuit-reuse: importances of a tiny run, ranks within layers, its rules and figure."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lab.analysis.subject import open_run
from lab.claims import circuit_reuse
from lab.claims.circuit_reuse import OWN, SECOND, TASKS, correlation, importances
from lab.nn.inputs import to_torch
from lab.nn.loss import teacher_forced
from lab.results.result import Result
from lab.runs.run import run
from lab.verdicts.verdict import evaluate_claim
from tests.claim_results import check_figure, claim_of, with_accuracy


def test_importance_is_the_rise_without_the_heads_part_of_the_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A head off is a projection that does not read it, on the rows of the task that is named."""
    monkeypatch.setattr(circuit_reuse, "ROWS", 8)
    arm = claim_of("circuit-reuse").arms[OWN]
    train = replace(arm.train, steps=2, batch=4, warmup=0, eval_every=2, eval_rows=8)
    probes = tuple(replace(probe, n=8) for probe in arm.probes)
    arm = replace(arm, train=train, probes=probes, model=replace(arm.model, width=32, heads=2))
    result = run(arm, tmp_path, "cpu")
    for task in TASKS:
        found = importances(result, task)
        assert [len(layer) for layer in found] == [2, 2]
        s = open_run(result.run, task, rows=8)
        inputs = to_torch(s.task, s.model.config, s.batch, torch.device("cpu"))
        with torch.no_grad():
            intact, _ = teacher_forced(s.model, inputs)
            mixer: Any = s.model.blocks[1].mixer  # type: ignore[index]
            mixer.out.weight[:, :16] = 0
            without, _ = teacher_forced(s.model, inputs)
        assert found[1][0] == pytest.approx(float(without - intact), abs=1e-6)


def test_ranks_are_taken_within_layers() -> None:
    """A layer whose heads all matter more than those of another adds no correlation, but it has
    more weight."""
    up, down = [0.1, 0.2, 0.5, 0.6], [0.6, 0.5, 0.2, 0.1]
    above = [10 * x for x in up]
    assert correlation([up, above], [up, above]) == pytest.approx(1)
    assert correlation([up, above], [down, [10 * x for x in down]]) == pytest.approx(-1)
    assert correlation([up, up], [up, down]) == pytest.approx(0)
    # Shares of the upper layer: 10/11 in the first task, 1/2 in the second.
    weight = (10 / 11 + 1 / 2) / 2
    assert correlation([up, above], [up, down]) == pytest.approx(1 - 2 * weight)
    assert correlation([up, [-2.0, -1.0, -3.0, 0.0]], [up, [0.0] * 3 + [1e-9]]) > 0.99
    # One swap of neighbours of four: 1 - 6 * 2 / (4 * 15).
    assert correlation([up], [[0.2, 0.1, 0.5, 0.6]]) == pytest.approx(0.8)


def made(own: bool) -> Callable[[Result, str], list[list[float]]]:
    """The order of the heads: that of the seed in both tasks, or another one in the second."""

    def of(result: Result, task: str) -> list[list[float]]:
        shift = result.experiment["train"]["seed"] % 8
        if task == TASKS[1] and not own:
            shift += 4
        return [[float((head + shift) % 8) for head in range(8)] for _ in range(2)]

    return of


@pytest.mark.parametrize(
    ("own", "exact", "verdict"), [(True, 1.0, "holds"), (False, 1.0, "fails"), (True, 0.8, "fails")]
)
def test_what_holds(
    own: bool, exact: float, verdict: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(circuit_reuse, "importances", made(own))
    claim = claim_of("circuit-reuse")
    results = {e.slug: with_accuracy(e, exact) for e in claim.experiments()}
    record = json.loads(json.dumps(evaluate_claim(claim, results)))
    assert record["verdict"] == verdict and record["negative_control"]["verdict"] == "fails"
    assert claim.precondition is not None
    assert (claim.precondition(record["series"]) is None) == (exact > 0.9)
    assert [len(seed["second"]) for seed in record["series"]] == [1] * 6
    assert [len(seed["second"]) for seed in record["negative_control"]["series"]] == [5] * 6
    check_figure(claim, record, tmp_path / "cpu.png")


def test_the_control_has_five_models_of_other_seeds() -> None:
    claim = claim_of("circuit-reuse")
    own = {e.train.seed for e in claim.seeded(claim.arms[OWN])}
    others = [[e.train.seed for e in claim.seeded(claim.control.arms[n])] for n in SECOND]
    for seeds in zip(*others, strict=True):
        assert len(set(seeds)) == 5 and not own & set(seeds)
