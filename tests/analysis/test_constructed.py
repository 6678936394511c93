"""Blocks with weights set by hand move and gate named channels, and nothing else."""

from __future__ import annotations

import pytest
import torch

from lab.analysis.constructed import blank, copy_back, gate, look_up, side_by_side
from lab.config import ModelConfig
from lab.nn.model import Model

CHANNELS = side_by_side({"one": 1, "source": 3, "condition": 1, "key": 1, "target": 3})
TOKENS = 64  # all different, in this order


@pytest.fixture
def random() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def model() -> Model:
    config = ModelConfig(
        layers="attention",
        width=24,
        heads=6,
        position="hard_alibi",
        banded=4,
        norm="rms",
        mlp_ratio=0.25,
    )
    model = Model(config, TOKENS)
    blank(model, CHANNELS)
    model.embed.weight.data[:, CHANNELS["one"]] = 2.0**16
    return model


def added(model: Model, embedding: torch.Tensor) -> torch.Tensor:
    """What the block adds to the target [TOKENS,3], the channels after `one` being given."""
    model.embed.weight.data[:, 1 : 1 + embedding.shape[1]] = embedding
    x = model.embed.weight.data[None]
    with torch.no_grad():
        y = (model.blocks[0](x) - x)[0]
    target = y[:, CHANNELS["target"]].clone()
    y[:, CHANNELS["target"]] = 0
    assert (y == 0).all()
    return target


@pytest.mark.parametrize("i", [0, 1, 3])
def test_a_copy_is_of_the_token_i_before(model: Model, random: torch.Generator, i: int) -> None:
    copy_back(model.blocks[0].mixer, CHANNELS, [("target", "source", i)])
    source = torch.randn(TOKENS, 3, generator=random)
    target = added(model, source)
    torch.testing.assert_close(target[i:], source[: TOKENS - i], atol=1e-5, rtol=0)
    for t in range(i):
        torch.testing.assert_close(target[t], source[: t + 1].mean(0), atol=1e-5, rtol=0)


def test_a_look_up_copies_from_the_highest_score_so_far(
    model: Model, random: torch.Generator
) -> None:
    mixer, scores = model.blocks[0].mixer, [("one", "key", 1.0)]
    look_up(mixer, 5, CHANNELS, scores, [("target", "source")])
    given = torch.randn(TOKENS, 5, generator=random)  # source, condition, key
    given[:, 4] = torch.randperm(TOKENS, generator=random)
    target = added(model, given)
    for t in range(TOKENS):
        best = int(given[: t + 1, 4].argmax())
        torch.testing.assert_close(target[t], given[best, :3], atol=1e-5, rtol=0)


def test_a_gate_adds_the_source_where_its_condition_is_1(
    model: Model, random: torch.Generator
) -> None:
    gate(model.blocks[0].mlp, CHANNELS, [("target", "source", "condition")])
    source = 2.0 * torch.randint(-1, 2, (TOKENS, 3), generator=random)
    condition = 1.0 * torch.randint(0, 2, (TOKENS, 1), generator=random)
    target = added(model, torch.cat([source, condition], 1))
    torch.testing.assert_close(target, source * condition, atol=1e-5, rtol=0)


def test_a_norm_leaves_a_blank_model_as_it_is(model: Model, random: torch.Generator) -> None:
    x = torch.randn(TOKENS, 24, generator=random)
    x[:, CHANNELS["one"]] = 2.0**16
    expected = x.clone()
    expected[:, CHANNELS["one"]] = 1
    torch.testing.assert_close(model.norm(x), expected, atol=0, rtol=1e-6)
