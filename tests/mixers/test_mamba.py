"""Mamba has its paper's size and initial steps."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from lab.config import ModelConfig
from lab.nn.model import Model


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
