"""One contract for every mixer and position: causal, rows apart, any length, exact steps."""

from __future__ import annotations

import typing
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lab import checkpoint, mixers
from lab.config import Experiment, ModelConfig
from lab.model import Model
from lab.optim import build
from lab.run import make_model

WORDS = 7
POSITIONS = typing.get_args(typing.get_type_hints(ModelConfig)["position"])
KINDS = [(name, position) for name in mixers.names() for position in POSITIONS]
contract = pytest.mark.parametrize(("mixer", "position"), KINDS)


def make(mixer: str, position: str, seed: int = 0, **options: typing.Any) -> Model:
    config = ModelConfig(layers=f"{mixer}*2", width=16, heads=2, position=position, **options)  # type: ignore[arg-type]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Model(config, WORDS).double().eval()
        for p in model.parameters():  # weights large enough that every path matters
            torch.nn.init.normal_(p, std=0.4)
    return model


def tokens(B: int, T: int, seed: int = 1) -> torch.Tensor:
    return torch.randint(WORDS, (B, T), generator=torch.Generator().manual_seed(seed))


@contract
@torch.no_grad()
def test_causal(mixer: str, position: str) -> None:
    model, x = make(mixer, position), tokens(2, 33)
    before = model(x)
    for t in (0, 1, 16, 31, 32):
        changed = x.clone()
        changed[:, t] = (changed[:, t] + 1) % WORDS
        after = model(changed)
        assert torch.equal(before[:, :t], after[:, :t])
        assert not torch.allclose(before[:, t], after[:, t])


@contract
@torch.no_grad()
def test_rows_do_not_see_each_other(mixer: str, position: str) -> None:
    model, x = make(mixer, position), tokens(5, 20)
    alone = torch.cat([model(row[None]) for row in x])
    assert torch.allclose(model(x), alone, atol=1e-12)
    assert torch.allclose(model(x.flip(0)).flip(0), alone, atol=1e-12)


@contract
@given(T=st.integers(1, 130), prompt=st.integers(1, 130))
@settings(max_examples=12)
@torch.no_grad()
def test_decoding_equals_the_parallel_form(mixer: str, position: str, T: int, prompt: int) -> None:
    model, x = make(mixer, position), tokens(2, T)
    whole = model(x)
    assert whole.shape == (2, T, WORDS)
    start = min(prompt, T)
    logits, state = model.prefill(x[:, :start])
    assert torch.allclose(logits, whole[:, start - 1], atol=1e-10)
    for t in range(start, T):
        logits, state = model.step(x[:, t], state)
        assert torch.allclose(logits, whole[:, t], atol=1e-10), f"token {t}"


@contract
@torch.no_grad()
def test_logits_only_where_asked_are_the_same(mixer: str, position: str) -> None:
    model, x = make(mixer, position), tokens(3, 12)
    where = torch.zeros(3, 12, dtype=torch.bool)
    where[0, 3] = where[2, 11] = where[1] = True
    assert torch.allclose(model(x, where), model(x)[where], atol=1e-12)


@contract
def test_checkpoint_is_exact(mixer: str, position: str, tmp_path: Path) -> None:
    from lab.config import TrainConfig

    one, two = make(mixer, position, 0).float(), make(mixer, position, 1).float()
    moments = build(one, TrainConfig()), build(two, TrainConfig())
    one(tokens(2, 9)).square().sum().backward()
    moments[0].step()
    checkpoint.save(tmp_path, 7, 1.5, one, moments[0])
    assert checkpoint.restore(tmp_path, two, moments[1], pytest.fail) == (7, 1.5)
    for (name, a), b in zip(one.named_parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b), name
    for optimizer, model in zip(moments, (one, two), strict=True):
        optimizer.zero_grad()
        model(tokens(2, 9)).square().sum().backward()
        optimizer.step()
    for (name, a), b in zip(one.named_parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b), f"{name} after one more step"


@contract
def test_every_weight_gets_a_gradient(mixer: str, position: str) -> None:
    model = make(mixer, position).train()
    model(tokens(4, 17)).square().mean().backward()
    for name, p in model.named_parameters():
        assert p.grad is not None and p.grad.abs().sum() > 0, name


@pytest.mark.parametrize("position", ["learned", "rope"])
@torch.no_grad()
def test_order_matters_with_positions(position: str) -> None:
    model, x = make("attention", position, 0), tokens(1, 8)
    swapped = x[:, [2, 1, 0, *range(3, 8)]]
    assert not torch.allclose(model(x)[:, -1], model(swapped)[:, -1])


@torch.no_grad()
def test_without_positions_one_layer_sees_a_set() -> None:
    config = ModelConfig(layers="attention", width=16, heads=2, position="none")
    model, x = Model(config, WORDS).double(), tokens(1, 8)
    swapped = x[:, [2, 0, 1, *range(3, 8)]]
    assert torch.allclose(model(x)[:, -1], model(swapped)[:, -1], atol=1e-12)


@torch.no_grad()
def test_attention_is_its_definition() -> None:
    from lab.mixers.attention import Attention

    config = ModelConfig(width=12, heads=3, position="rope")
    mixer = Attention(config).double()
    x = torch.randn(2, 6, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = torch.zeros(2, 6, 12, dtype=torch.float64)
    q, k, v = mixer.qkv(x).split(12, dim=-1)

    def turned(vector: torch.Tensor, position: int) -> torch.Tensor:
        pairs = torch.complex(vector[:2], vector[2:])
        angle = torch.tensor([position * 1.0, position / 100.0], dtype=torch.float64)
        pairs = pairs * torch.polar(torch.ones(2, dtype=torch.float64), angle)
        return torch.cat([pairs.real, pairs.imag])

    for b in range(2):
        for h in range(3):
            part = slice(4 * h, 4 * h + 4)
            for i in range(6):
                logits = torch.stack(
                    [turned(q[b, i, part], i) @ turned(k[b, j, part], j) / 2 for j in range(i + 1)]
                )
                expected[b, i, part] = logits.softmax(0) @ v[b, : i + 1, part]
    assert torch.allclose(mixer(x), mixer.out(expected), atol=1e-12)


def test_weights_depend_on_the_seed_alone() -> None:
    from lab.config import change
    from lab.experiments.parity import experiment

    def weights(e: Experiment) -> torch.Tensor:
        return torch.cat([p.flatten() for p in make_model(e).parameters()])

    base = experiment(k=2)
    before = torch.random.get_rng_state()
    one = weights(base)
    assert torch.equal(before, torch.random.get_rng_state()), "global random state was touched"
    torch.rand(3)
    assert torch.equal(one, weights(base))
    assert not torch.equal(one, weights(change(base, "train.seed", "1")))


def test_a_row_longer_than_the_position_table_is_refused() -> None:
    model = make("attention", "learned", tokens=8)
    with pytest.raises(ValueError, match=r"model\.tokens = 8 cannot be used: at least 9"):
        model(tokens(1, 9))


def test_tied_weights_are_one() -> None:
    model = make("attention", "none", tie=True)
    assert model.head.weight is model.embed.weight
