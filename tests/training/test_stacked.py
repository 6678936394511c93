"""Stacked seeds: each trains as a run of its own."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lab.experiments._make import make
from lab.nn.model import make_model
from lab.training.loop import train
from lab.training.optim import build
from lab.training.stacked import Stack, clipped, unstackable

CPU = torch.device("cpu")
STEPS, SEEDS = 6, 3
SMALL = {"width": 16, "steps": STEPS, "batch": 8, "eval_every": 0}
RUNS = {
    "parity": ("parity", {"length": 6, "k": 2}),
    "supervised tokens differ": ("flipflop", {"length": 8, "weight_decay": 0.1, "bias": True}),
    "clipped": ("parity", {"length": 6, "k": 2, "grad_clip": 0.05, "optimizer": "sgd"}),
    "muon": ("parity", {"length": 6, "k": 2, "optimizer": "muon", "tie_embeddings": True}),
    "lengths differ": ("addition", {"length": 3, "layers": "attention", "optimizer": "sgd"}),
    "frozen": ("parity", {"length": 6, "k": 2, "freeze": ("embed.*",), "optimizer": "signum"}),
    "path": ("flipflop", {"length": 8, "position": "path", "layers": "attention*2"}),
    "buffers change": ("parity", {"length": 6, "k": 2, "sigma": True, "optimizer": "sgd"}),
}


@pytest.mark.parametrize("label", RUNS)
def test_each_seed_trains_as_its_own_run(label: str) -> None:
    """The bounds are rounding's: the operators' references sum in another order than native code,
    and the update of AdamW, Muon and Signum is of one size however small a gradient is."""
    name, options = RUNS[label]
    experiment = make(name, **SMALL | options, seed=4)
    stack = Stack(experiment, SEEDS, CPU)
    got = []
    for number, inputs in enumerate(stack.draw(range(STEPS))):
        got.append(stack.gradients(inputs))
        stack.update(number)
    for i in range(SEEDS):
        own = dataclasses.replace(experiment.train, seed=4 + i)
        run = dataclasses.replace(experiment, train=own)
        model = make_model(run)
        want = [one.loss for one in train(run, model, build(model, own), 0, CPU)]
        assert [float(losses[i]) for losses in got] == pytest.approx(want, rel=2e-5)
        for parameter, p in model.named_parameters():
            moved = (stack.parameters[parameter][i] - p).abs().max()
            assert moved < 2e-4, parameter
    firsts = got[0].tolist()
    assert len(set(firsts)) == SEEDS, "seeds differ"


@given(
    sizes=st.lists(st.sampled_from([(), (3,), (2, 3)]), min_size=1, max_size=4),
    most=st.sampled_from([0.0, 0.3, 2.0, 1e3]),
    seed=st.integers(0, 99),
)
def test_every_model_is_clipped_by_its_own_norm(
    sizes: list[tuple[int, ...]], most: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    scale = torch.tensor([1e-2, 1.0, 1e2])
    grads = [
        torch.randn(3, *size, generator=generator) * scale.view(3, *[1] * len(size))
        for size in sizes
    ]
    got = clipped([*grads, None], most)
    assert got[-1] is None
    for i in range(3):
        own = [torch.nn.Parameter(torch.zeros(size)) for size in sizes]
        for p, g in zip(own, grads, strict=True):
            p.grad = g[i].clone()
        if most:
            torch.nn.utils.clip_grad_norm_(own, most)
        for p, g in zip(own, got, strict=False):
            assert g is not None
            torch.testing.assert_close(g[i], p.grad, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"optimizer": "adalayer"}, "adalayer updates whole tensors"),
        ({"grad_accum": 2}, "grad_accum"),
        ({"grad_noise": 0.1}, "grad_noise has a random stream"),
        ({"dropout": 0.1}, "dropout has a random stream"),
        ({"position": "learned", "offset": 3}, "position ids"),
        ({"layers": "memories"}, "routers"),
        ({"experts": 2}, "routers"),
    ],
)
def test_what_cannot_be_stacked_is_said(options: dict[str, Any], why: str) -> None:
    assert unstackable(make("parity", k=2, length=6)) is None
    assert why in str(unstackable(make("parity", **{"k": 2, "length": 6, **options})))
    assert "steps of grpo" in str(unstackable(make("addition_rl")))
