"""Attention against its formulas, written out token by token; its cache against its forward."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kernels import served
from lab.config import ModelConfig
from lab.mixers import _position
from lab.mixers.attention import Attention
from lab.nn.model import select_rows
from tests.attention import (
    SIZE,
    Literal,
    Options,
    grid,
    make,
    name,
    rows,
)
from tests.kernels.native import COMPILER
from tests.kernels.queries import some_of
from tests.kernels.rounding import cotangent


@grid
@torch.no_grad()
def test_forward_is_the_formula(options: Options) -> None:
    mixer = make(**options)
    config = ModelConfig(**{**SIZE, **options})
    x = rows(2, 6, config.width)
    expected = torch.stack([Literal(config, mixer.state_dict(), row).run() for row in x])
    assert (mixer(x) - expected).abs().max() < 1e-10


@COMPILER
@grid
@given(data=st.data(), B=st.integers(1, 3), T=st.integers(3, 40))
@settings(max_examples=3)
def test_some_tokens_alone_are_those_of_all(
    options: Options, data: st.DataObject, B: int, T: int
) -> None:
    """Output and gradients in float32 by native code, against all tokens in float64."""
    some = data.draw(some_of(B * T).filter(lambda n: 3 * len(n) <= 2 * B * T))
    mixer = make(**options)
    if mixer.softplus is not None:
        assert mixer.float().forward_at(rows(B, T).float(), some) is None, "no native operator"
        return
    x = rows(B, T, mixer.out.in_features).requires_grad_()
    parts = [x, *mixer.parameters()]
    y = mixer(x).flatten(0, 1)[some]
    want = [y, *torch.autograd.grad(y, parts, cotangent(y), materialize_grads=True)]
    mixer.float()
    z = x.detach().float().requires_grad_()
    got = mixer.forward_at(z, some)
    assert served()["path" if mixer.turns else "attention"] == "native"
    assert got is not None
    grads = torch.autograd.grad(
        got, [z, *mixer.parameters()], cotangent(got), materialize_grads=True
    )
    size = max(float(part.norm()) for part in want[1:])
    for a, b in zip((got, *grads), want, strict=True):
        assert a.shape == b.shape
        assert (a.double() - b).norm() < 1e-4 * b.norm() + 1e-5 * size


def test_all_tokens_are_computed_where_some_cost_as_much() -> None:
    mixer, few, most = make(), torch.tensor([3]), torch.arange(9)
    x = rows(2, 5)
    assert mixer.forward_at(x, few) is None  # float64
    mixer, x = mixer.float(), x.float()
    assert mixer.forward_at(x, most) is None
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert mixer.forward_at(x, few) is None
    asked = []
    torch.func.vmap(lambda x: asked.append(mixer.forward_at(x, few)) or x)(x[None])
    assert asked == [None]


def tensors(state: Any) -> list[Tensor]:
    if isinstance(state, Tensor):
        return [state]
    return [x for part in state for x in tensors(part)] if isinstance(state, tuple) else []


@grid
@torch.no_grad()
def test_steps_are_the_forward_and_the_state_is_counted(options: Options) -> None:
    mixer = make(**options)
    x = rows(3, 36, mixer.out.in_features)
    whole = mixer(x)
    for prompt in (1, 16, 31):
        y, state = mixer.prefill(x[:, :prompt])
        assert (y - whole[:, :prompt]).abs().max() < 1e-10
        for t in range(prompt, 36):
            y, state = mixer.step(x[:, t], state)
            assert (y - whole[:, t]).abs().max() < 1e-10, (prompt, t)
            assert all(part.shape[0] == 3 for part in tensors(state))
            assert filled(state) == mixer.state_size(t + 1)


def filled(state: Any) -> int:
    """Numbers of a row that a state holds, without the room for later tokens."""
    parts = state._asdict()
    held = 0
    for key, part in parts.items():
        if isinstance(part, tuple):
            held += filled(part)
        elif isinstance(part, Tensor):
            growing = key in ("k", "v", "forgotten", "total")
            held += (part[0, :, : parts["t"]] if growing else part[0]).numel()
    return held


@pytest.mark.parametrize("options", [{"banded": 3}, {"banded": 2, "kv_heads": 2}], ids=name)
@torch.no_grad()
def test_heads_with_a_window_keep_the_widest_window(options: Options) -> None:
    mixer, x = make(position="hard_alibi", **options), rows(2, 100)
    for t in (1, 2, 99):
        _, state = mixer.prefill(x[:, :t])
        _, state = mixer.step(x[:, t], state)
        near, far = state.near.k.shape, state.far.k.shape
        assert near == (2, mixer.near, options["banded"], 4)
        assert far[1] == mixer.kv_heads - mixer.near > 0
        assert far[2] > t


@torch.no_grad()
def test_room_doubles() -> None:
    mixer, x = make(forget=True), rows(1, 100)
    _, state = mixer.prefill(x[:, :1])
    rooms, moves = [], 0
    for t in range(1, 100):
        old = state.k.data_ptr()
        _, state = mixer.step(x[:, t], state)
        moves += old != state.k.data_ptr()
        rooms.append(state.k.shape[2])
    assert sorted(set(rooms)) == [16, 32, 64, 128] and moves == 3


@pytest.mark.parametrize(
    "options",
    [{}, {"position": "path", "forget": True}, {"position": "hard_alibi", "forget": True}],
    ids=name,
)
@torch.no_grad()
def test_rows_can_be_dropped_from_the_state(options: Options) -> None:
    mixer, x, rest = make(**options), rows(5, 24), torch.tensor([3, 1])
    whole = mixer(x)
    _, state = mixer.prefill(x[:, :10])
    state = select_rows(state, rest)
    for t in range(10, 24):
        y, state = mixer.step(x[rest, t], state)
        assert (y - whole[rest, t]).abs().max() < 1e-10


def test_slopes_and_bands_are_those_of_the_papers() -> None:
    assert _position.slopes(8).tolist() == [2.0**-n for n in range(1, 9)]
    assert _position.slopes(4).tolist() == [2.0 ** (-2 * n) for n in range(1, 5)]
    assert _position.windows(16, 8) == [*range(1, 9)] + [0] * 8
    assert _position.windows(4, 0) == [1, 2, 0, 0]
    assert _position.windows(1, 0) == [1]


@torch.no_grad()
def test_a_banded_head_copies_and_a_free_head_averages() -> None:
    """With all logits 0, heads 0 and 1 average 1 and 2 tokens, the others all of them."""
    mixer = make(position="hard_alibi")
    eye = torch.eye(16, dtype=torch.float64)
    mixer.qkv.weight.copy_(torch.cat([0 * eye, 0 * eye, eye]))
    mixer.out.weight.copy_(eye)
    x = rows(1, 9)
    y = mixer(x)[0, -1].view(4, 4)
    v = x[0].view(9, 4, 4)
    expected = [v[8, 0], v[7:, 1].mean(0), v[:, 2].mean(0), v[:, 3].mean(0)]
    assert (y - torch.stack(expected)).abs().max() < 1e-12


@pytest.mark.parametrize("position", ["rope", "path"])
@torch.no_grad()
def test_grouped_heads_are_repeated_heads(position: str) -> None:
    few, many = make(position=position, kv_heads=2), make(position=position)
    weights = {key: w.clone() for key, w in few.state_dict().items()}

    def repeated(w: Tensor) -> Tensor:
        return w.unflatten(0, (2, -1)).repeat_interleave(2, 0).flatten(0, 1)

    q, k, v = weights["qkv.weight"].split([16, 8, 8])
    weights["qkv.weight"] = torch.cat([q, repeated(k), repeated(v)])
    if position == "path":
        weights["turns.conv.weight"] = repeated(weights["turns.conv.weight"].T).T
        for part in ("w.weight", "beta.weight", "beta.bias"):
            weights["turns." + part] = repeated(weights["turns." + part])
    many.load_state_dict(weights)
    x = rows(2, 20)
    assert (few(x) - many(x)).abs().max() < 1e-12


TINY: list[Options] = [
    {"position": "rope", "qk_norm": True, "gate": "elementwise", "bias": True},
    {"position": "path", "forget": True, "kv_heads": 1, "gate": "headwise", "gate_at": "G2"},
    {"position": "alibi", "forget": True, "log_length": 2, "gate": "headwise"},
    {
        "position": "hard_alibi",
        "gate": "elementwise",
        "gate_at": "G5",
        "gate_act": "ns_sigmoid",
        "gate_add": True,
    },
    {"gate": "elementwise", "gate_act": "silu", "gate_shared": True},
    {"gate": "elementwise", "gate_input": "constant", "position": "path"},
    {"score": "softplus", "sharpen": 2.0, "forget": True, "gate": "headwise"},
]


@pytest.mark.parametrize("options", TINY, ids=name)
def test_gradients(options: Options) -> None:
    mixer = make(width=4, heads=2, **options)
    names, values = zip(*mixer.named_parameters(), strict=True)

    def run(x: Tensor, *weights: Tensor) -> Tensor:
        return torch.func.functional_call(mixer, dict(zip(names, weights, strict=True)), (x,))

    assert torch.autograd.gradcheck(run, (rows(2, 4, 4).requires_grad_(), *values))


@pytest.mark.parametrize("options", [*TINY, {"position": "path"}], ids=name)
@torch.no_grad()
def test_bf16_autocast_is_near(options: Options) -> None:
    """Forward, prefill and steps within 3% of float64 in root mean square: bf16 keeps 8 bits."""
    mixer, x = make(**options), rows(4, 48)
    exact = mixer(x)
    mixer.float()
    with torch.autocast("cpu", torch.bfloat16):
        whole = mixer(x.float())
        _, state = mixer.prefill(x[:, :8].float())
        steps = []
        for t in range(8, 48):
            y, state = mixer.step(x[:, t].float(), state)
            steps.append(y)
    for found, wanted in ((whole, exact), (torch.stack(steps, 1), exact[:, 8:])):
        assert (found - wanted).square().mean() < 0.03**2 * wanted.square().mean()


def test_gates_of_sigmoid_after_attention_go_through_the_operator() -> None:
    def fused(**options: Any) -> bool:
        gate = make(gate="elementwise", **options).gate
        assert gate is not None
        return gate.fused

    assert fused()
    assert not any((fused(gate_add=True), fused(gate_act="silu"), fused(gate_shared=True)))
    assert not fused(gate_at="G2")


@torch.no_grad()
def test_starts_without_a_bias_to_forget_or_to_reflect() -> None:
    """Biases are 0: forget gates at 1/2, reflections onto the plane (beta = 1)."""
    for name_, p in Attention(
        ModelConfig(width=16, heads=2, position="path", forget=True, gate="headwise", bias=True)
    ).named_parameters():
        assert not name_.endswith("bias") or not p.any(), name_


def test_a_constant_gate_starts_half_open_and_reads_nothing() -> None:
    """2505.06708: the input-independent gate is a parameter that starts at 0, through a sigmoid."""
    config = ModelConfig(width=16, heads=4, gate="elementwise", gate_input="constant")
    gate = Attention(config).gate
    assert gate is not None
    assert [p.shape for p in gate.parameters()] == [(16,)]
    assert (gate.scores(rows(2, 5)) == 0.5).all()
    torch.nn.init.normal_(next(gate.parameters()))
    scores = gate.scores(rows(2, 5))
    assert scores.shape == (2, 5, 4, 4) and torch.equal(scores, scores[:1, :1].expand(2, 5, 4, 4))
    assert len(scores[0, 0].unique()) == 16, "one number for each channel of each head"
