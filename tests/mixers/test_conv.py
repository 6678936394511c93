"""The short convolution and its state."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from lab.mixers import _conv as conv
from tests.recurrent import inputs, make

CONVOLVED = ["mamba", "deltanet", "based"]


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
