"""The MLP and the mixture of experts against their formulas."""

from __future__ import annotations

import math
import typing

import numpy as np
import pytest
import torch
from torch import Tensor

from lab.mixers._router import balance_losses, new_step
from lab.nn.mlp import _MLP, _Mixture, mlp
from lab.nn.model import Model
from tests.modules import config, filled, x


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
        chosen = sorted(range(len(p)), key=lambda e: -float(p[e]))[: mixture.router.active]
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


def test_mlp_only_where_asked() -> None:
    model = Model(config(layers="gru,attention", mlp_in="attention"), 5)
    assert [getattr(b, "mlp", None) is not None for b in model.blocks] == [False, True]
    assert isinstance(typing.cast(typing.Any, model.blocks[1]).mlp, _MLP)
