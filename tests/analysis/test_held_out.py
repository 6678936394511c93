"""The held-out loss against a cross-entropy summed token by token."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import lab
from lab.analysis.held_out import held_out_loss
from lab.runs.run import run
from tasks import Role

TINY = {"steps": 4, "batch": 4, "width": 8, "warmup": 0, "eval_every": 0}


@pytest.mark.parametrize(
    ("name", "options", "label"),
    [
        ("bigram", {"symbols": 4, "length": 6}, None),
        ("parity", {"length": 6, "cot": False}, None),
        ("mixture", {"length": 4, "parts": "parity k=2; copy symbols=5"}, "copy"),
    ],
)
def test_all_supervised_tokens_count(
    tmp_path: Path, name: str, options: dict[str, object], label: str | None
) -> None:
    """Of bigram text all tokens and not the scored one alone; of parity without a thought the
    answer; of a mixture the rows of one part."""
    e = lab.experiment(name, **options, **TINY)
    e = replace(e, probes=tuple(replace(probe, n=8) for probe in e.probes))
    result = run(e, tmp_path, "cpu")
    probe = next(p for p in e.probes if label in (None, p.label))
    task = probe.of(e.task)
    rows = task.sample(np.random.default_rng(e.train.seed), 16, probe.length)
    losses = []
    for tokens, roles in zip(rows.tokens, rows.roles, strict=True):
        keep = roles != Role.PAD
        keep &= True if e.cot else roles != Role.THOUGHT
        seen, kinds = torch.from_numpy(tokens[keep])[None], roles[keep]
        with torch.no_grad():
            log_p = lab.model(result.run)(seen)[0].log_softmax(-1)
        for t in range(1, len(kinds)):
            if kinds[t] in (Role.THOUGHT, Role.ANSWER):
                losses.append(-float(log_p[t - 1, seen[0, t]]))
    assert held_out_loss(result.run, label, rows=16) == pytest.approx(np.mean(losses), abs=1e-5)
    assert held_out_loss(result.run, label, rows=15) != held_out_loss(result.run, label, rows=16)
