"""The claim order-matters: losses of tiny runs, its rules and its figure."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lab.analysis.subject import open_run
from lab.claims import order_matters
from lab.claims.order_matters import losses
from lab.config import Experiment
from lab.config.experiment import Scale
from lab.results.result import Result
from lab.runs.run import run
from lab.verdicts.verdict import evaluate_claim
from tests.claim_results import check_figure, claim_of, with_accuracy


def tiny(e: Experiment) -> Experiment:
    train = replace(e.train, steps=12, batch=8, warmup=2, eval_every=6, keep_steps=(4, 8))
    return replace(e, train=train, probes=tuple(replace(p, n=16) for p in e.probes))


def test_the_loss_of_every_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Token by token: all but the prompt, on rows that are held out."""
    monkeypatch.setattr(order_matters, "ROWS", 32)
    result = run(tiny(claim_of("order-matters").arms["head last, 1,000 rows"]), tmp_path, "cpu")
    found = losses(result)
    assert [step for step, _ in found["curve"]] == [4, 8, 12]
    assert found["loss"] == min(loss for _, loss in found["curve"])
    for step, loss in found["curve"]:
        s = open_run(result.run, rows=1, at=f"step-{step}")
        task: Any = replace(s.task, split="test")
        rows = torch.from_numpy(task.sample(np.random.default_rng(20), 32, 20).tokens)
        logits = s.model(rows.long()).detach().double().log_softmax(-1)
        terms = [-logits[i, t - 1, rows[i, t]] for i in range(32) for t in range(1, 21)]
        assert loss == pytest.approx(float(torch.stack(terms).mean()), abs=1e-5)
        assert found["least"] == task.least_loss(20) < loss


def made(few: float, free: float) -> Callable[[Result], dict[str, Any]]:
    """Losses by the order and by whether leaves depend on the head; least is 1."""

    def of(result: Result) -> dict[str, Any]:
        task = result.experiment["task"]
        lead = few if task["entropy"] == 2 else free
        loss = 1.1 + lead * (task["head_order"] == "last")
        return {"curve": [[100, 2.0], [800, loss]], "loss": loss, "least": 1.0}

    return of


@pytest.mark.parametrize(
    ("few", "free", "verdict"),
    [(0.15, 0.02, "holds"), (0.05, 0.0, "fails"), (0.15, 0.15, "inconclusive")],
)
def test_what_holds(
    few: float, free: float, verdict: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(order_matters, "losses", made(few, free))
    claim = claim_of("order-matters")
    results = {e.slug: with_accuracy(e, 1.0) for e in claim.experiments()}
    record = json.loads(json.dumps(evaluate_claim(claim, results)))
    assert record["verdict"] == verdict and record["values"] == pytest.approx([few] * 6)
    assert record["negative_control"]["values"] == pytest.approx([free] * 6)
    check_figure(claim, record, tmp_path / "cpu.png")


@pytest.mark.parametrize("scale", ["cpu", "gpu"])
def test_arms_differ_in_order_and_rows_alone(scale: Scale) -> None:
    claim = claim_of("order-matters", scale)
    one = next(iter(claim.arms.values()))
    for name, arm in claim.arms.items():
        task: Any = arm.task
        rows = arm.train.examples or arm.train.steps * arm.train.batch
        assert name == f"head {task.head_order}, {rows:,} rows"
        assert one == replace(
            arm, task=one.task, train=replace(arm.train, examples=one.train.examples)
        )
    for name, arm in claim.control.arms.items():
        free: Any = arm.task
        assert np.allclose(free.tables(20), 1 / free.symbols), "the leaves are uniform"
        rest = replace(arm.task, entropy=2.0)  # type: ignore[type-var]
        same = replace(arm, task=rest, train=claim.arms[name].train)
        assert same == claim.arms[name] and arm.train.seed != same.train.seed
