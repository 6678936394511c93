"""The claim river-valley: from tiny runs to dips, the checkpoints that it compares."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lab.claims.river_valley import CONSTANT, DECAYED, LEAST, measure, segment
from lab.config import Experiment
from lab.runs.run import run
from tests.claim_results import claim_of


def tiny(e: Experiment) -> Experiment:
    kept = {"keep_steps": (12,)} if e.train.keep_steps else {"budgets": (12,)}
    train = replace(e.train, steps=20, batch=8, warmup=2, eval_every=10, **kept)
    return replace(e, train=train, probes=tuple(replace(p, n=16) for p in e.probes))


def test_dips_of_tiny_runs(tmp_path: Path) -> None:
    claim = claim_of("river-valley")
    results = {name: run(tiny(e), tmp_path, "cpu") for name, e in claim.arms.items()}
    found = measure(results)
    for name, result in results.items():
        own = found.series[name]
        loss, share = torch.tensor(own["loss"]), torch.tensor(own["share"])
        assert share.tolist() == pytest.approx([i / 10 for i in range(11)])
        line = loss[0] + share * (loss[-1] - loss[0])
        assert own["dip"] == pytest.approx(float((line - loss).max()), abs=1e-6)
        assert own == segment(result) and own["distance"] > 0
        assert loss[0] > loss[-1] > 0, "twenty steps learn a little"
    dips = [max(LEAST, found.series[name]["dip"]) for name in (CONSTANT, DECAYED)]
    assert 2**found.value == pytest.approx(dips[0] / dips[1])


def test_both_arms_have_the_same_steps_and_rate() -> None:
    claim = claim_of("river-valley")
    constant, decayed = claim.arms[CONSTANT].train, claim.arms[DECAYED].train
    assert constant.keep_steps == decayed.budgets == (600,) and decayed.schedule == "wsd"
    same = replace(decayed, schedule="constant", budgets=(), keep_steps=(600,))
    assert same == constant
