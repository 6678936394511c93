"""Hedgehog is its formula, and its weights of attention are those that it sums by."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from lab.config import ModelConfig
from lab.mixers.attention import Attention
from lab.mixers.hedgehog import Hedgehog
from tests.recurrent import Weights, check_formula, inputs, make


def features(W: Tensor, x: Tensor, name: str) -> Tensor:
    """Number by number, over both signs of W x."""
    signed = [[sign * float(z) for z in W @ x] for sign in (1, -1)]
    one = {
        "softmax": lambda z, part: math.exp(z) / sum(map(math.exp, part)),
        "relu": lambda z, part: max(z, 0.0),
        "elu": lambda z, part: 1 + z if z > 0 else math.exp(z),
    }[name]
    numbers = [one(z, part) for part in signed for z in part]
    return torch.tensor(numbers, dtype=torch.float64)


def hedgehog(x: Tensor, p: Weights, config: ModelConfig) -> Tensor:
    D, H, d = config.width, config.heads, config.width // config.heads
    q, k, v = (x @ p["qkv.weight"].T).unflatten(1, (3, H, d)).unbind(1)
    out = []
    for t in range(len(x)):
        y = torch.zeros(D).double()
        for h in range(H):
            f, (W, U) = config.feature_map, p["maps"][:, h]
            query = features(W, q[t, h], f)
            weight = [float(query @ features(U, k[j, h], f)) for j in range(t + 1)]
            values = [w * v[j, h] for j, w in enumerate(weight)]
            y[h * d : (h + 1) * d] = torch.stack(values).sum(0) / max(sum(weight), 1e-12)
        out.append(p["out.weight"] @ y)
    return torch.stack(out)


@pytest.mark.parametrize("shape", [(2, 1, 8, 2), (2, 3, 6, 1), (1, 70, 20, 2)])
def test_is_its_formula(shape: tuple[int, int, int, int]) -> None:
    B, T, D, H = shape
    check_formula("hedgehog", hedgehog, B, T, width=D, heads=H)


@pytest.mark.parametrize("name", ["relu", "elu"])
def test_other_feature_maps_are_their_formulas(name: str) -> None:
    check_formula("hedgehog", hedgehog, 2, 9, width=6, heads=2, feature_map=name)


@torch.no_grad()
def test_weights_times_values_are_its_output() -> None:
    _, mixer = make("hedgehog")
    assert isinstance(mixer, Hedgehog)
    x = inputs(2, 7, 8)
    weights, values, before, after = mixer.attention_weights(x)
    assert weights.shape == (2, 2, 7, 7) and torch.equal(before, after)
    assert torch.allclose(weights.sum(-1), torch.ones(2, 2, 7).double())
    assert (weights.triu(1) == 0).all() and (weights >= 0).all()
    read = torch.einsum("bhij,bjhd->bihd", weights, values)
    assert torch.allclose(mixer.out(read.flatten(2)), mixer(x), atol=1e-12)


def test_maps_start_as_the_identity_and_the_rest_fits_attention() -> None:
    config = ModelConfig(layers="hedgehog", width=8, heads=2, position="none")
    mixer = Hedgehog(config)
    assert torch.equal(mixer.maps, torch.eye(4).expand(2, 2, 4, 4))
    attention = Attention(ModelConfig(width=8, heads=2))
    rest = mixer.load_state_dict(attention.state_dict(), strict=False)
    assert rest.missing_keys == ["maps"] and not rest.unexpected_keys


@torch.no_grad()
def test_far_features_give_no_nan() -> None:
    """Queries and keys whose features lie apart by more than float32 holds."""
    mixer = Hedgehog(ModelConfig(layers="hedgehog", width=4, heads=1, position="none"))
    mixer.qkv.weight.copy_(torch.cat([torch.eye(4), torch.eye(4).roll(1, 0), torch.eye(4)]))
    mixer.maps.mul_(1e4)
    assert mixer(inputs(2, 9, 4).float()).isfinite().all()
