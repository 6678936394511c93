"""Norms, MLPs, mixtures of experts, sigma-reparametrisation, embeddings and presets, each against
its own definition in float64."""

from __future__ import annotations

import math
import typing

import numpy as np
import pytest
import torch
from torch import Tensor

from lab.config import ModelConfig
from lab.config.presets import PRESETS
from lab.nn.mlp import _MLP, _Mixture, balance_losses, mlp, new_step
from lab.nn.model import Model, sinusoid
from lab.nn.norms import norm


def config(**options: typing.Any) -> ModelConfig:
    return ModelConfig(**{"width": 12, "heads": 2, **options})


def filled(module: torch.nn.Module, seed: int = 0) -> typing.Any:
    generator = torch.Generator().manual_seed(seed)
    module = module.double()
    for p in module.parameters():
        p.data = torch.randn(p.shape, generator=generator, dtype=torch.float64)
    return module


def x(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rms(v: Tensor, weight: Tensor) -> Tensor:
    return v / (v.square().mean(-1, keepdim=True) + 1e-6).sqrt() * weight


def test_norms_are_their_formulas() -> None:
    v = x(3, 5, 12)
    layer = filled(norm(config(norm="layer")))
    centred = v - v.mean(-1, keepdim=True)
    deviation = (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    assert torch.allclose(layer(v), centred / deviation * layer.weight + layer.bias, atol=1e-12)
    plain = filled(norm(config(norm="rms")))
    assert torch.allclose(plain(v), rms(v, plain.weight), atol=1e-12)
    pre = filled(norm(config(norm="preaffine")))
    assert torch.allclose(pre(v), rms(pre.scale * v, pre.norm.weight), atol=1e-12)
    gated = filled(norm(config(norm="gated")))
    y = rms(v, gated.norm.weight)
    low = y @ gated.down.weight.T
    gate = 1 / (1 + torch.exp(-((low / (1 + torch.exp(-low))) @ gated.up.weight.T)))
    assert torch.allclose(gated(v), y * gate, atol=1e-12)
    assert gated.down.weight.shape == (16, 12)


def test_preaffine_starts_as_rms() -> None:
    v = x(4, 12)
    pre = norm(config(norm="preaffine")).double()
    assert torch.allclose(pre(v), rms(v, torch.ones(12, dtype=torch.float64)), atol=1e-12)


def test_mlps_are_their_formulas() -> None:
    v = x(4, 12)
    gelu = filled(mlp(config(mlp_ratio=2, bias=True)))
    u = v @ gelu.up.weight.T + gelu.up.bias
    bend = 0.5 * u * (1 + torch.tanh(math.sqrt(2 / math.pi) * (u + 0.044715 * u**3)))
    assert torch.allclose(gelu(v), bend @ gelu.out.weight.T + gelu.out.bias, atol=1e-12)
    swiglu = filled(mlp(config(mlp_ratio=2, mlp_act="swiglu")))
    g = v @ swiglu.gate.weight.T
    u = v @ swiglu.up.weight.T
    expected = (g / (1 + torch.exp(-g)) * u) @ swiglu.out.weight.T
    assert torch.allclose(swiglu(v), expected, atol=1e-12)


def by_token(mixture: _Mixture, v: Tensor) -> Tensor:
    """Token by token: the chosen experts' outputs by their shares."""
    rows = []
    for token in v.reshape(-1, v.shape[-1]):
        p = (mixture.router.weight @ token).softmax(0)
        chosen = sorted(range(len(p)), key=lambda e: -float(p[e]))[: mixture.active]
        total = sum(p[e] for e in chosen)
        rows.append(sum(p[e] / total * mixture.experts[e](token) for e in chosen))
    return torch.stack(typing.cast(list[Tensor], rows)).view_as(v)


@pytest.mark.parametrize(("experts", "active"), [(1, 1), (4, 1), (4, 2), (5, 5)])
@pytest.mark.parametrize("act", ["gelu", "swiglu"])
@torch.no_grad()
def test_mixture_is_its_loop_over_tokens(experts: int, active: int, act: str) -> None:
    mixture = filled(mlp(config(experts=experts, experts_per_token=active, mlp_act=act)))
    for v in (x(3, 7, 12), x(1, 1, 12), x(5, 12)):
        got, expected = mixture(v), by_token(mixture, v)
        assert torch.allclose(got, expected, atol=1e-10)


def test_balance_is_its_formula() -> None:
    mixture = filled(mlp(config(experts=4, experts_per_token=2))).train()
    v = x(6, 12)
    mixture(v)
    p = (v @ mixture.router.weight.T).softmax(-1).detach()
    f = np.zeros(4)
    for row in p:
        for e in row.topk(2).indices.tolist():
            f[e] += 1 / 12
    expected = 4 * sum(f[e] * float(p[:, e].mean()) for e in range(4))
    (found,) = balance_losses(mixture)
    assert float(found.detach()) == pytest.approx(expected, rel=1e-5)


def test_even_routing_balances_at_one() -> None:
    mixture = filled(mlp(config(experts=4, experts_per_token=1))).train()
    mixture.router.weight.data.zero_()
    mixture.router.weight.data[:, :4] = 30 * torch.eye(4)
    v = torch.zeros(8, 12, dtype=torch.float64)
    v[torch.arange(8), torch.arange(8) % 4] = 1.0
    mixture(v)
    assert float(balance_losses(mixture)[0].detach()) == pytest.approx(1.0, abs=1e-5)
    mixture(v[:1])
    assert float(balance_losses(mixture)[0].detach()) == pytest.approx(4.0, abs=1e-5), (
        "all to one expert"
    )


def test_global_balance_averages_the_choices_of_a_step() -> None:
    micro, everywhere = (
        filled(mlp(config(experts=4, experts_per_token=1, balance_over=kind))).train()
        for kind in ("micro", "global")
    )
    parts = [x(5, 12, seed=s) for s in (1, 2, 3)]
    shares = []
    for mixture in (micro, everywhere):
        new_step(mixture)
    for part in parts:
        p = (part @ micro.router.weight.T).softmax(-1).detach()
        shares.append(torch.bincount(p.argmax(-1), minlength=4) / 5)
        for mixture, f in ((micro, shares[-1]), (everywhere, torch.stack(shares).mean(0))):
            mixture(part)
            expected = float(4 * (f * p.mean(0)).sum())
            assert float(balance_losses(mixture)[0].detach()) == pytest.approx(expected, rel=1e-5)
    new_step(everywhere)
    everywhere(parts[0])
    new_step(micro)
    micro(parts[0])
    assert torch.equal(balance_losses(micro)[0], balance_losses(everywhere)[0])


def test_sigma_is_the_largest_singular_value() -> None:
    torch.manual_seed(0)
    model = Model(config(layers="attention", sigma=True), 5).double()
    plain = {name: p for name, p in model.named_parameters() if name.endswith(".original")}
    assert len(plain) == 4, "qkv, out, up and out"
    module = typing.cast(typing.Any, model.blocks[0]).mlp.up
    original = module.parametrizations.weight.original
    assert torch.allclose(module.weight, original, atol=1e-5), "a start changes nothing"
    original.data = torch.randn_like(original)
    model.train()
    for _ in range(300):
        weight = module.weight
    g = module.parametrizations.weight[0].g
    top = torch.linalg.svdvals(original.detach())[0]
    assert torch.allclose(weight, g / top * original, atol=1e-8)
    assert float(torch.linalg.svdvals(weight.detach())[0]) == pytest.approx(
        float(g.detach()), rel=1e-8
    )
    model.eval()
    assert torch.equal(module.weight, module.weight)


def test_sigma_gradient() -> None:
    torch.manual_seed(0)
    from lab.nn.sigma_reparam import _Sigma

    weight = x(4, 3)
    sigma = _Sigma(weight).eval()
    assert torch.autograd.gradcheck(sigma, (weight.requires_grad_(),))


@pytest.mark.parametrize("width", [12, 13])
def test_sinusoids(width: int) -> None:
    table = sinusoid(torch.arange(50), width)
    for i in (0, 1, 7, 49):
        for j in range(width):
            even = j - j % 2
            angle = i / 10000 ** (even / width)
            expected = math.sin(angle) if j % 2 == 0 else math.cos(angle)
            assert float(table[i, j]) == pytest.approx(expected, abs=1e-6)


def test_frozen_embedding_is_shared_and_stays() -> None:
    model = Model(config(embed="sinusoidal", tie_embeddings=True, position="none"), 9)
    assert model.head.weight is model.embed.weight
    assert not model.embed.weight.requires_grad
    assert torch.equal(model.embed.weight, sinusoid(torch.arange(9), 12))


MILLIONS = {
    "llama-0.5m": 0.52,
    "llama-1m": 1.05,
    "llama-2m": 1.97,
    "mamba-0.5m": 0.52,
    "mamba-1m": 1.16,
    "mamba-2m": 2.10,
    "hybrid-0.5m": 0.46,
    "hybrid-1m": 0.98,
    "hybrid-2m": 1.79,
    "gpt2-1": 7.7,
    "gpt2-2": 13.9,
    "gpt2-3": 20.2,
    "gpt2-4": 26.4,
}


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_have_the_papers_size(name: str) -> None:
    model = Model(PRESETS[name], 2 if name.startswith("gpt2") else 33)
    size = sum(p.numel() for p in model.parameters() if p.requires_grad) / 1e6
    digits = 1 if name.startswith("gpt2") else 2
    # the tables round some figures and cut others off
    assert MILLIONS[name] in (round(size, digits), math.floor(size * 10**digits) / 10**digits)


def test_a_gpt2_layer_counted_by_hand() -> None:
    D = 720
    block = 4 * D * D + 4 * D + 8 * D * D + 5 * D + 4 * D  # attention, MLP, two norms
    expected = block + 2 * D + 2048 * D + 2 * D  # last norm, places, two words
    assert sum(p.numel() for p in Model(PRESETS["gpt2-1"], 2).parameters()) == expected


def test_mlp_only_where_asked() -> None:
    model = Model(config(layers="gru,attention", mlp_in="attention"), 5)
    assert [getattr(b, "mlp", None) is not None for b in model.blocks] == [False, True]
    assert isinstance(typing.cast(typing.Any, model.blocks[1]).mlp, _MLP)
