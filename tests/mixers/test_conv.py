"""The short convolution and its state."""

from __future__ import annotations

import pytest
import torch

from lab.mixers._conv import ShortConv
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
    layer, x = ShortConv(3, 4, bias=True, silu=True), inputs(2, 5, 3)
    zero = torch.zeros(2, 1, 3, dtype=torch.float64)
    assert torch.equal(layer.state(x), x[:, 2:])
    assert torch.equal(layer.state(x[:, :2]), torch.cat([zero, x[:, :2]], 1))
    assert torch.equal(layer.step(x[:, 4], layer.state(x[:, :4]))[1], x[:, 2:])
