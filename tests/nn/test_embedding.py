"""Embeddings of tokens and positions."""

from __future__ import annotations

import math

import pytest
import torch

from lab.nn.model import Model, sinusoid
from tests.modules import config


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
