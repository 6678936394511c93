"""The forty most useful models, two steps each on recall, from training to a decoded score."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from lab.config import ModelConfig, Probe
from lab.experiments._any import for_task
from lab.results.folder import load
from lab.runs.run import run
from tasks.planted import Planted
from tasks.recall import Recall

USEFUL: list[dict[str, Any]] = [
    *({"position": p} for p in ("none", "learned", "sinusoidal", "rope", "alibi", "hard_alibi")),
    {"position": "path"},
    *({"position": p, "forget": True} for p in ("none", "rope", "path")),
    *({"position": p, "gate": g} for p in ("rope", "path") for g in ("headwise", "elementwise")),
    {"position": "path", "gate": "elementwise", "forget": True},
    *({"gate": "elementwise", "gate_at": f"G{i}"} for i in (2, 3, 4, 5)),
    {"gate": "elementwise", "gate_shared": True},
    {"gate": "elementwise", "gate_add": True, "gate_act": "silu"},
    {"gate": "headwise", "gate_act": "ns_sigmoid"},
    {"gate": "elementwise", "gate_input": "constant"},
    {"position": "rope", "qk_norm": True, "kv_heads": 1},
    {"position": "rope", "log_length": 16},
    {"position": "rope", "score": "softplus"},
    *({"layers": f"{m}*2", "position": "none"} for m in ("lstm", "gru", "linear", "deltanet")),
    *({"layers": f"{m}*2", "position": "none"} for m in ("based", "hedgehog")),
    {"layers": "mamba*2", "position": "none", "mlp_ratio": 0},
    {"layers": "mamba*2,attention", "position": "path", "gate": "headwise"},
    {"layers": "mamba*2,attention", "position": "rope", "mlp_in": "attention"},
    {"layers": "deltanet,attention", "position": "rope"},
    {"layers": "lstm,attention", "position": "none"},
    {"layers": "gru,attention", "position": "learned"},
    {"norm": "rms", "mlp_act": "swiglu", "position": "rope"},
    {"norm": "preaffine", "gate": "elementwise"},
    {"norm": "gated"},
    {"experts": 4, "balance_over": "global"},
    {"layers": "memories*2", "position": "none", "memories": 3, "balance_over": "global"},
    {"sigma": True},
    {"bias": True, "tie_embeddings": True, "dropout": 0.1},
    {"embed": "sinusoidal", "tie_embeddings": True, "position": "rope"},
]
PLACES = [{"position": "coupled"}, {"position": "predicted"}]


def name_of(options: dict[str, Any]) -> str:
    return ",".join(f"{k}={v}" for k, v in options.items())


@pytest.mark.parametrize("options", [*USEFUL, *PLACES], ids=name_of)
def test_trains_and_decodes(options: dict[str, Any], tmp_path: Path) -> None:
    base = for_task(Planted if options in PLACES else Recall)(length=8)
    if options not in PLACES:
        base = dataclasses.replace(base, task=Recall(vocabulary=32))
    experiment = dataclasses.replace(
        base,
        model=ModelConfig(**{"width": 16, "heads": 2, **options}),
        train=dataclasses.replace(base.train, steps=2, batch=8, lengths=(8,)),
        probes=(Probe("held out", 8, {"split": "test"}, n=16),),
    )
    result = run(experiment, tmp_path)
    assert result.scores[0].n == 16 and load(result.run) == result


def test_there_are_forty() -> None:
    assert len(USEFUL) + len(PLACES) >= 40
