"""Experts by part: counts against a loop over tokens, information against entropies."""

from __future__ import annotations

import dataclasses
import json
from math import log2
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lab.analysis.analyses.experts import analyze, information, routers
from lab.config import ModelConfig
from lab.experiments.mixture import experiment
from lab.runs.run import run
from tasks import Role, Task
from tasks.mixture import Mixture
from tasks.parity import Parity
from tests.commands import invoke
from tests.subjects import made

PARTS = "parity k=2; copy symbols=4; sorting values=5"


@pytest.mark.parametrize(
    ("task", "model"),
    [
        (Mixture(parts=PARTS), ModelConfig(width=16, experts=5)),
        (Mixture(parts=PARTS), ModelConfig(width=16, layers="memories", position="none")),
        (Parity(k=2), ModelConfig(width=16, experts=3, experts_per_token=1)),
    ],
)
def test_counts_are_those_of_a_loop_over_tokens(task: Task, model: ModelConfig) -> None:
    s = made(task, 6, model, n=24)
    read: dict[str, torch.Tensor] = {}
    for name, router in routers(s.model).items():
        router.register_forward_pre_hook(lambda _, args, name=name: read.__setitem__(name, args[0]))
    load = analyze(s)
    read = {name: x.clone() for name, x in read.items()}  # no longer of inference mode
    names = [part.name for part in task.each_part()] or [task.name]
    assert list(load.parts) == names and len(load.routers) == len(routers(s.model))
    n, T = s.batch.tokens.shape
    for router, (name, module) in zip(load.routers, routers(s.model).items(), strict=True):
        assert name == f"{router.where}.router"
        x = read[name].reshape(n, T, -1)
        counts = np.zeros((len(names), module.out_features), int)
        for row in range(n):
            first = task.words[s.batch.tokens[row, 0]].strip("<>")
            part = names.index(first) if len(names) > 1 else 0
            for t in range(T):
                if s.batch.roles[row, t] != Role.PAD:
                    p = (module.weight @ x[row, t]).tolist()
                    for e in sorted(range(len(p)), key=lambda e: -p[e])[: module.active]:
                        counts[part, e] += 1
        assert counts.tolist() == [list(row) for row in router.counts]
        assert (router.information is None) == (len(names) == 1)
    for row in load.table:
        assert 0 <= row[names[0]] <= 1
    assert len(load.sentences) == (len(load.routers) if len(names) > 1 else 0)


def entropy(p: np.ndarray) -> float:
    return -sum(x * log2(x) for x in p.ravel().tolist() if x > 0)


@given(st.data())
def test_information_is_that_of_two_variables(data: st.DataObject) -> None:
    """H(part) + H(expert) - H(both), with equally frequent parts."""
    P, E = data.draw(st.integers(2, 4)), data.draw(st.integers(1, 5))
    row = st.lists(st.integers(0, 30), min_size=E, max_size=E).filter(any)
    counts = np.array(data.draw(st.lists(row, min_size=P, max_size=P)))
    joint = counts / counts.sum(1, keepdims=True) / P
    expected = entropy(joint.sum(1)) + entropy(joint.sum(0)) - entropy(joint)
    assert information(counts) == pytest.approx(expected, abs=1e-9)


def test_information_at_its_ends() -> None:
    assert information(np.array([[9, 0, 0], [0, 1, 0], [0, 0, 5]])) == pytest.approx(log2(3))
    assert information(np.array([[2, 4], [50, 100]])) == pytest.approx(0)
    assert information(np.array([[2, 4]])) is None
    assert information(np.array([[2, 4], [0, 0]])) is None, "a part without rows"


def test_a_model_without_a_router_is_refused() -> None:
    with pytest.raises(ValueError, match="its tokens choose no expert or memory"):
        analyze(made(Parity(k=2), 6, ModelConfig(width=16), n=2))


def test_a_run_on_a_mixture_tells_each_part_and_its_experts(tmp_path: Path) -> None:
    e = experiment(parts="parity k=2 length=5; copy symbols=4; parity k=3", length=4)
    model = dataclasses.replace(e.model, width=16, heads=2, experts=4, balance_over="global")
    train = e.train.given({"steps": 2, "eval_every": 0, "batch": 12})
    train = dataclasses.replace(train, grad_accum=3, micro_batches="one_part")
    few = tuple(dataclasses.replace(probe, n=8) for probe in e.probes)
    result = run(dataclasses.replace(e, model=model, train=train, probes=few), tmp_path)
    scores = [(score.probe, score.length) for score in result.scores]
    assert scores == [("all parts", 4), ("parity1", 5), ("copy", 4), ("parity2", 4)]
    asked = ("analyze", result.run, "--what", "experts")
    told = json.loads(invoke(*asked, "--json").stdout)["found"]
    assert told["parts"] == ["parity1", "copy", "parity2"] and len(told["routers"]) == 2
    text = invoke(*asked).stdout
    assert "blocks.0.mlp: the expert tells" in text and "parity2" in text
    alone = invoke(*asked, "--probe", "part=copy", "--json").stdout
    assert json.loads(alone)["found"]["parts"] == ["mixture"]
