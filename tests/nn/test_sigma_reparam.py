"""Sigma-reparametrisation: the largest singular value and its gradient."""

from __future__ import annotations

import typing

import pytest
import torch

from lab.nn.model import Model
from tests.modules import config, x


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
