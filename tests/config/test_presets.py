"""The presets have the sizes of their papers."""

from __future__ import annotations

import math

import pytest

from lab.config.presets import PRESETS
from lab.nn.model import Model

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
