"""What holds for every recurrent mixer: state, rows, bf16, biases."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lab import registry
from lab.config import ModelConfig
from tests.recurrent import NAMES, every, inputs, make


@every
@pytest.mark.parametrize("T", [1, 2, 40])
@torch.no_grad()
def test_state_size_counts_the_state(name: str, T: int) -> None:
    for options in ({}, {"width": 12, "heads": 3}):
        config, mixer = make(name, **options)
        x = inputs(2, T + 1, config.width)
        _, state = mixer.prefill(x[:, :T])
        kept = sum(part[0].numel() for part in state)
        memory = sum(part.untyped_storage().nbytes() for part in state)
        assert memory <= 1.5 * 8 * 2 * kept, "a state that keeps the whole prompt in memory"
        assert kept == mixer.state_size(T) == mixer.state_size(10 * T)
        assert sum(part[0].numel() for part in mixer.step(x[:, T], state)[1]) == kept


@every
@torch.no_grad()
def test_rows_can_leave_while_decoding(name: str) -> None:
    _, mixer = make(name)
    x, keep = inputs(5, 8, 8), torch.tensor([0, 3])
    whole = mixer(x)
    _, state = mixer.prefill(x[:, :5])
    _, state = mixer.step(x[:, 5], state)
    state = type(state)(*(part[keep] for part in state))
    for t in (6, 7):
        y, state = mixer.step(x[keep, t], state)
        assert torch.allclose(y, whole[keep, t], atol=1e-12)


@every
@torch.no_grad()
def test_bf16_autocast_is_near(name: str) -> None:
    """Relative error at most 2 %, decoding too; bfloat16 itself rounds by up to 0.4 %."""
    _, mixer = make(name, width=32, heads=2)
    mixer = mixer.float()
    for p in mixer.parameters():
        p *= 0.4
    x = inputs(4, 40, 32).float()
    exact = mixer(x)
    with torch.autocast("cpu", torch.bfloat16):
        y = mixer(x)
        last, state = mixer.prefill(x[:, :20])
        steps = [last[:, -1:]]
        for t in range(20, 40):
            one, state = mixer.step(x[:, t], state)
            steps.append(one[:, None])
    assert y.isfinite().all()
    assert name in ("lstm", "gru") or state[-1].dtype == torch.float32, "sums over all tokens"
    assert (y - exact).norm() <= 0.02 * exact.norm()
    assert (torch.cat(steps, 1) - exact[:, 19:]).norm() <= 0.02 * exact[:, 19:].norm()


@every
def test_bf16_autocast_trains(name: str) -> None:
    """Gradients keep the direction of those in float32 (cosine at least 0.95) in every weight.

    RMSNorm divides by what a head reads, so that linear is rough where that is near 0.
    """
    _, mixer = make(name, width=16)
    mixer = mixer.float()
    for p in mixer.parameters():
        p.data *= 0.4
    x, g = inputs(8, 20, 16).float(), inputs(8, 20, 16, seed=2).float()
    exact = torch.autograd.grad(mixer(x), list(mixer.parameters()), g)
    with torch.autocast("cpu", torch.bfloat16):
        y = mixer(x)
    rough = torch.autograd.grad(y, list(mixer.parameters()), g.to(y.dtype))
    for a, b, (key, _) in zip(exact, rough, mixer.named_parameters(), strict=True):
        assert torch.cosine_similarity(a.flatten(), b.flatten(), dim=0) > 0.95, key


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("lstm", "gru")])
@torch.no_grad()
def test_biases_start_at_zero_and_count(name: str) -> None:
    config = ModelConfig(layers=name, width=8, heads=2, position="none", bias=True)
    mixer = registry.load("mixers", name)(config)
    biases = [m.bias for m in mixer.modules() if isinstance(m, nn.Linear) and m.bias is not None]
    plain = registry.load("mixers", name)(
        ModelConfig(layers=name, width=8, heads=2, position="none")
    )
    assert len(list(mixer.parameters())) == len(list(plain.parameters())) + 2
    assert all((bias == 0).all() for bias in biases)
    x = inputs(1, 6, 8).float()
    before = mixer(x)
    for bias in biases:
        was = bias.clone()
        bias += 0.5
        assert not torch.allclose(mixer(x), before, atol=1e-6)
        bias.copy_(was)
