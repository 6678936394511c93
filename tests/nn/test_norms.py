"""Norms of a block against their formulas."""

from __future__ import annotations

import torch
from torch import Tensor

from lab.nn.norms import norm
from tests.modules import config, filled, x


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
