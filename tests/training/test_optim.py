"""Which parameters get which optimizer, weight decay and rotation."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from lab.config import ModelConfig, TrainConfig
from lab.nn.model import Model, make_model
from lab.runs.run import run
from lab.training.optim import build
from tests.trained import small

LR = 0.01

MIXED = ModelConfig(
    layers="mamba,attention,lstm", width=8, heads=1, max_positions=12, d_state=4, norm="rms"
)
MATRICES = {
    *(f"blocks.0.mixer.{name}" for name in ("in_proj.weight", "x_proj.weight", "dt_weight")),
    *(f"blocks.1.mixer.{name}" for name in ("qkv.weight",)),
    *(f"blocks.2.mixer.cell.weight_{name}_l0" for name in ("ih", "hh")),
    *(f"blocks.{i}.mixer.out.weight" for i in (0, 1)),
    *(f"blocks.{i}.mlp.{name}.weight" for i in (0, 1, 2) for name in ("up", "out")),
}


def gradients(model: nn.Module) -> None:
    generator = torch.Generator().manual_seed(0)
    for p in model.parameters():
        p.grad = torch.randn(p.shape, generator=generator)


def test_muon_takes_the_matrices_of_the_blocks_and_adamw_the_rest() -> None:
    model = Model(MIXED, 20)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = build(model, TrainConfig(optimizer="muon", lr=1.0, weight_decay=0.01))
    for group in optimizer.param_groups:
        group["lr"] = LR  # as training sets it
    gradients(model)
    optimizer.step()
    orthogonal = set()
    for name, p in model.named_parameters():
        spared = p.ndim < 2 or name.endswith("A_log")
        change = before[name] * (1 if spared else 1 - LR * 0.01) - p.detach()
        if torch.allclose(change, LR * p.grad.sign(), rtol=1e-3, atol=1e-6):
            continue  # Adam's first step
        orthogonal.add(name)
        scale = 0.2 * max(p.shape) ** 0.5 * LR
        values = torch.linalg.svdvals(change / scale)
        assert ((values > 0.4) & (values < 1.6)).all(), name
    assert orthogonal == MATRICES


def test_soap_rotates_no_vectors_and_tables_only_by_width() -> None:
    model = Model(MIXED, 20)
    optimizer = build(model, TrainConfig(optimizer="soap", weight_decay=0.01))
    gradients(model)
    optimizer.step()
    for name, p in model.named_parameters():
        sizes = [len(matrix) for matrix in optimizer.state[p]["GG"]]
        table = name in ("embed.weight", "place.weight", "head.weight")
        assert sizes == ([0, 8] if table else [0] if p.ndim == 1 else list(p.shape)), name
    decayed = {p for g in optimizer.param_groups if g["weight_decay"] for p in g["params"]}
    matrices = {p for n, p in model.named_parameters() if p.ndim >= 2 and not n.endswith("A_log")}
    assert decayed == matrices


def test_soap_without_its_package_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pytorch_optimizer", None)
    with pytest.raises(ValueError, match=r"pip install 'synthetic-reasoning-lab\[soap\]'"):
        run(small(optimizer="soap"), tmp_path)
    assert not list(tmp_path.iterdir())


def test_weight_decay_spares_norms() -> None:
    model = make_model(small())
    optimizer = build(model, TrainConfig(weight_decay=0.1, lr=0.1))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    for name, p in model.named_parameters():
        factor = 0.99 if p.ndim >= 2 else 1.0
        assert torch.allclose(p, factor * before[name], rtol=1e-5), name
