"""Optimizers against loops over their formulas, what goes where, and resume to the last bit."""

from __future__ import annotations

import dataclasses
import math
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lab.config import Experiment, ModelConfig, Probe, TrainConfig
from lab.errors import RunStopped
from lab.experiments.parity import experiment
from lab.nn.model import Model
from lab.results.folder import Folder
from lab.runs.run import run
from lab.training import checkpoint
from lab.training.optim import build

OPTIMIZERS = ("adamw", "sgd", "signum", "lion", "muon", "soap", "adalayer")
LR, DECAY, EPS = 0.01, 0.1, 1e-8
SHAPES = {"matrix": (3, 4), "vector": (5,), "cube": (2, 3, 2), "number": ()}


def sign(x: float) -> float:
    return float((x > 0) - (x < 0))


class Loop:
    """The formula of one optimizer, a number at a time, for one parameter."""

    def __init__(self, name: str, betas: tuple[float, ...], decay: float) -> None:
        self.name, self.betas, self.decay = name, betas, decay
        self.m: dict[Any, float] = {}
        self.v: dict[Any, float] = {}
        self.layer, self.t = 0.0, 0

    def __call__(self, p: np.ndarray, g: np.ndarray) -> np.ndarray:
        self.t += 1
        b1, b2 = (*self.betas, 0.0)[:2]
        squares = sum(float(g[at]) ** 2 for at in np.ndindex(g.shape)) / g.size
        self.layer = b2 * self.layer + (1 - b2) * squares
        new = p.copy()
        for at in np.ndindex(p.shape):
            x, m = float(g[at]), self.m.get(at, 0.0)
            if self.name == "sgd":
                x += self.decay * p[at]
                self.m[at] = b1 * m + x
                new[at] = p[at] - LR * self.m[at]
                continue
            self.m[at] = b1 * m + (1 - b1) * x
            self.v[at] = b2 * self.v.get(at, 0.0) + (1 - b2) * x**2
            if self.name == "signum":
                u = sign(self.m[at])
            elif self.name == "lion":
                u = sign(b1 * m + (1 - b1) * x)
                self.m[at] = b2 * m + (1 - b2) * x
            else:
                v = self.layer if self.name == "adalayer" else self.v[at]
                u = self.m[at] / (1 - b1**self.t) / (math.sqrt(v / (1 - b2**self.t)) + EPS)
            new[at] = p[at] - LR * self.decay * p[at] - LR * u
        return new


DEFAULTS = {
    "adamw": (0.9, 0.999),
    "sgd": (0.9,),
    "signum": (0.9,),
    "lion": (0.9, 0.99),
    "adalayer": (0.9, 0.999),
}


class Parts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        rng = np.random.default_rng(0)
        for name, shape in SHAPES.items():
            value = torch.from_numpy(np.asarray(rng.normal(size=shape)))
            self.register_parameter(name, nn.Parameter(value))


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("name", DEFAULTS)
def test_updates_are_those_of_the_formula(name: str, own: bool) -> None:
    betas = DEFAULTS[name] if own else (0.6, 0.7)[: len(DEFAULTS[name])]
    given = {} if own else dict(zip(("beta1", "beta2"), betas, strict=False))
    parts, rng = Parts(), np.random.default_rng(1)
    optimizer = build(parts, TrainConfig(optimizer=name, lr=LR, weight_decay=DECAY, **given))  # type: ignore[arg-type]
    loops = {n: Loop(name, betas, DECAY if len(SHAPES[n]) >= 2 else 0.0) for n in SHAPES}
    expected = {n: p.detach().numpy().copy() for n, p in parts.named_parameters()}
    for _ in range(6):
        for n, p in parts.named_parameters():
            g = np.asarray(rng.normal(size=SHAPES[n]) * rng.choice([0.01, 1.0, 10.0]))
            p.grad = torch.from_numpy(g)
            expected[n] = loops[n](expected[n], g)
        optimizer.step()
        for n, p in parts.named_parameters():
            assert np.allclose(p.detach().numpy(), expected[n], rtol=1e-12, atol=1e-14), n


def test_a_parameter_without_a_gradient_stays() -> None:
    for name in OPTIMIZERS:
        parts = Parts().float()
        optimizer = build(parts, TrainConfig(optimizer=name, weight_decay=DECAY))  # type: ignore[arg-type]
        for _ in range(2):
            parts.matrix.grad = torch.ones(3, 4)
            optimizer.step()
        assert torch.equal(parts.vector, Parts().float().vector), name
        assert not torch.equal(parts.matrix, Parts().float().matrix), name


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
        run(tiny(optimizer="soap"), tmp_path)
    assert not list(tmp_path.iterdir())


def tiny(**changes: Any) -> Experiment:
    base = experiment(k=2, length=4)
    train = dataclasses.replace(base.train, **{"steps": 24, "batch": 8, **changes})
    model = dataclasses.replace(base.model, width=16, heads=2, max_positions=8, layers="attention")
    probes = (Probe("held out", 4, {"split": "test"}, n=16),)
    return dataclasses.replace(base, train=train, model=model, probes=probes)


def contents(out: Path, e: Experiment) -> dict[str, bytes]:
    """The weights of the last checkpoint and of all branches, and the optimizer's tensors."""
    folder = Folder(out, e).checkpoints
    kept = [checkpoint.list_checkpoints(folder)[-1], *folder.glob("branch-*")]
    return {
        f"{path.name}/{name}": (path / f"{name}.safetensors").read_bytes()
        for path in kept
        for name in ("weights", "optimizer")
    }


def evaluations(out: Path, e: Experiment) -> list[dict[str, Any]]:
    return [row for row in Folder(out, e).read_log() if "scores" in row]


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine", "wsd", "wsd_s"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_resume_is_exact(name: str, schedule: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"optimizer": name, "schedule": schedule, "grad_noise": 0.01}
    if schedule.startswith("wsd"):
        options |= {"budgets": (14,), "decay": 0.4}
    e = tiny(warmup=2, weight_decay=0.1, **options)
    run(e, tmp_path / "unbroken")

    def interrupt(row: dict[str, Any]) -> None:
        if row["step"] == 10:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(RunStopped):
        run(e, tmp_path / "stopped", watch=interrupt)
    run(e, tmp_path / "stopped")
    assert contents(tmp_path / "stopped", e) == contents(tmp_path / "unbroken", e)
    rows = evaluations(tmp_path / "unbroken", e)
    assert evaluations(tmp_path / "stopped", e) == rows
    assert len(rows) == schedule.startswith("wsd")


RATES = {"sgd": 0.3, "signum": 1e-3, "lion": 1e-3, "muon": 0.01, "adalayer": 0.01}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_learns(name: str, tmp_path: Path) -> None:
    e = tiny(optimizer=name, steps=60, batch=64, lr=RATES.get(name, 3e-3))
    run(e, tmp_path)
    losses = [row["loss"] for row in Folder(tmp_path, e).read_log() if "loss" in row]
    assert losses[-1] < 0.75 * losses[0], losses
