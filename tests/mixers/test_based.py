"""Based in chunks is Based at once."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import Tensor

from kernels.taylor import reference
from tests.recurrent import inputs, make, taylor

MODULE = sys.modules[reference.__module__]


@torch.no_grad()
def test_based_beyond_a_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    config, mixer = make("based", feature=3)
    x = inputs(3, 13, 8)
    expected = torch.stack([taylor(row, dict(mixer.named_parameters()), config) for row in x])
    for chunk, block in ((1, 1), (4, 100), (13, 1 << 18), (6, 40)):
        monkeypatch.setattr(MODULE, "_CHUNK", chunk)
        monkeypatch.setattr(MODULE, "_BLOCK", block)
        y, state = mixer.prefill(x[:, :12])
        assert torch.allclose(mixer(x), expected, atol=1e-11)
        assert torch.allclose(y, expected[:, :12], atol=1e-11)
        assert torch.allclose(mixer.step(x[:, 12], state)[0], expected[:, 12], atol=1e-11)


def test_gradients_of_based_beyond_a_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    _, mixer = make("based", feature=2, width=4)
    x = inputs(3, 7, 4)

    def gradients() -> list[Tensor]:
        mixer.zero_grad()
        mixer(x).square().sum().backward()
        return [p.grad for p in mixer.parameters() if p.grad is not None]

    whole = gradients()
    monkeypatch.setattr(MODULE, "_CHUNK", 3)
    monkeypatch.setattr(MODULE, "_BLOCK", 20)
    parts = gradients()
    assert len(whole) == len(parts) == 3
    for a, b in zip(whole, parts, strict=True):
        assert torch.allclose(a, b, atol=1e-11)
