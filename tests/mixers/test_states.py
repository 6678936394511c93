"""States, start, size and half precision of lstm, gru, mamba, linear, deltanet, based."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab import registry
from lab.config import ModelConfig
from lab.mixers import _conv as conv
from lab.nn.model import Model

NAMES = ["lstm", "gru", "mamba", "linear", "deltanet", "based"]
CONVOLVED = ["mamba", "deltanet", "based"]
every = pytest.mark.parametrize("name", NAMES)


def make(name: str, seed: int = 0, **options: Any) -> tuple[ModelConfig, nn.Module]:
    """A mixer in float64 with weights large enough that every path matters."""
    config = ModelConfig(**{"layers": name, "width": 8, "heads": 2, "position": "none", **options})
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        mixer = registry.load("mixers", name)(config).double()
        for p in mixer.parameters():
            nn.init.normal_(p, std=0.5)
    return config, mixer


def inputs(*shape: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("name", CONVOLVED)
@pytest.mark.parametrize("taps", [1, 4, 6])
@torch.no_grad()
def test_a_prompt_shorter_than_the_convolution(name: str, taps: int) -> None:
    _, mixer = make(name, d_conv=taps)
    x = inputs(2, 9, 8)
    whole = mixer(x)
    for start in range(1, 9):
        _, state = mixer.prefill(x[:, :start])
        assert state.seen.shape[1] == taps - 1
        for t in range(start, 9):
            y, state = mixer.step(x[:, t], state)
            assert torch.allclose(y, whole[:, t], atol=1e-12), (start, t)


@torch.no_grad()
def test_the_state_of_a_convolution_is_its_last_inputs() -> None:
    layer, x = conv.ShortConv(3, 4, bias=True, silu=True), inputs(2, 5, 3)
    zero = torch.zeros(2, 1, 3, dtype=torch.float64)
    assert torch.equal(layer.state(x), x[:, 2:])
    assert torch.equal(layer.state(x[:, :2]), torch.cat([zero, x[:, :2]], 1))
    assert torch.equal(layer.step(x[:, 4], layer.state(x[:, :4]))[1], x[:, 2:])


@pytest.mark.parametrize("taps", [1, 2, 5])
@pytest.mark.parametrize(("bias", "act"), [(True, True), (False, False), (False, True)])
def test_convolution_in_blocks_of_rows(
    monkeypatch: pytest.MonkeyPatch, taps: int, bias: bool, act: bool
) -> None:
    monkeypatch.setattr(conv, "_BLOCK", 30)
    layer = conv.ShortConv(4, taps, bias=bias, silu=act).double()
    x, g = inputs(5, 3, 4).requires_grad_(), inputs(5, 3, 4, seed=2)
    tensors = [x, *layer.parameters()]
    padded = F.pad(x.mT, (taps - 1, 0))
    y = F.conv1d(padded, layer.weight.T[:, None], layer.bias, groups=4).mT
    expected = torch.autograd.grad(F.silu(y) if act else y, tensors, g)
    assert torch.allclose(layer(x), F.silu(y) if act else y, atol=1e-12)
    for mine, other in zip(torch.autograd.grad(layer(x), tensors, g), expected, strict=True):
        assert torch.allclose(mine, other, atol=1e-12)


@torch.no_grad()
def test_convolution_of_half_types_sums_in_float32() -> None:
    layer = conv.ShortConv(64, 4, bias=True, silu=False)
    x = inputs(4, 50, 64).bfloat16()
    y, exact = layer(x), layer.double()(x.double())
    assert y.dtype == torch.bfloat16
    assert (y != exact.bfloat16()).double().mean() < 1e-3


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


@pytest.mark.parametrize(
    ("width", "layers", "millions"), [(64, 16, 0.52), (128, 10, 1.16), (128, 18, 2.10)]
)
def test_mamba_has_as_many_parameters_as_in_the_rnn_paper(
    width: int, layers: int, millions: float
) -> None:
    """2402.18510, appendix B: d_state 16, d_conv 4, expand 2; embedding and head are frozen.

    The count in millions is of the blocks; gains of RMSNorm add less than 0.3 %.
    """
    config = ModelConfig(
        layers=f"mamba*{layers}", width=width, position="none", mlp_ratio=0, norm="rms"
    )
    inner, rank = 2 * width, math.ceil(width / 16)
    block = width * 2 * inner + inner * 4 + inner  # into the block, taps, their biases
    block += inner * (rank + 2 * 16) + rank * inner + inner  # delta, B, C
    block += inner * 16 + inner + inner * width  # A, D, out
    assert block == {64: 32_640, 128: 116_480}[width]
    assert round(layers * block / 1e6, 2) == millions
    model, gains = Model(config, 7), width * (layers + 1)
    assert gains < 0.003 * layers * block
    assert sum(p.numel() for p in model.parameters()) == layers * block + gains + 2 * 7 * width


def test_steps_start_as_in_the_papers() -> None:
    """Also behind lab.nn.model, which starts every nn.Linear its own way."""
    for name in ("mamba", "deltanet"):
        model = Model(ModelConfig(layers=name, width=64, heads=2, position="none", mlp_ratio=0), 7)
        mixer = model.blocks[0].mixer
        step = F.softplus(mixer.dt_bias.double())
        assert step.min() > 1e-3 * 0.999 and step.max() < 1e-1 * 1.001
        if name == "mamba":
            assert step.min() < 2e-3 and step.max() > 5e-2
            rows = torch.arange(1.0, 17.0).expand(128, 16)
            assert torch.allclose(mixer.A_log.exp(), rows) and (mixer.skip == 1).all()
            assert 0.4 < mixer.dt_weight.abs().max() < 0.5 and mixer.dt_weight.shape == (128, 4)
        else:
            assert (mixer.A_log.exp() >= 1).all() and (mixer.A_log.exp() <= 16).all()


@pytest.mark.parametrize("name", ["mamba", "linear", "deltanet", "based"])
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


@torch.no_grad()
def test_deltanet_replaces_what_a_key_held() -> None:
    """With beta near 1 and no decay, a key that is written twice reads back its last value."""
    _, mixer = make("deltanet", d_conv=1, width=8, heads=1)
    mixer.A_log.fill_(-30.0)
    mixer.into.weight[32].copy_(torch.full((8,), 100.0))  # b: large and positive on these inputs
    mixer.conv.weight.fill_(1.0)
    mixer.into.weight[:16, :4] = 0.0  # q and k come from the last four inputs, v from all
    mixer.into.weight[:8] = mixer.into.weight[8:16]
    x = inputs(1, 3, 8).abs()
    x[:, 1:, 4:] = x[:, :1, 4:]  # one key three times
    _, state = mixer.prefill(x)
    q, _, v = mixer._heads(mixer.conv(mixer.into(x)[..., :24]))
    assert torch.allclose(state.S[0, 0].T @ q[0, 2, 0], v[0, 2, 0], atol=1e-10)
