"""Mixture-of-Memories is its formula, and its router is balanced as that of experts."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lab.config import ModelConfig
from lab.mixers._router import balance_losses, new_step
from lab.nn.inputs import Inputs
from lab.nn.loss import teacher_forced
from lab.nn.model import Model
from tests.recurrent import (
    Weights,
    check_formula,
    convolved,
    inputs,
    make,
    normed,
    sigmoid,
    silu,
    softplus,
)


def routed(W: Tensor, x: Tensor) -> dict[int, float]:
    """The shares of the memories that a token reads; memory 0 is shared."""
    p = (W @ x).softmax(0).tolist()
    best = sorted(range(len(p)), key=lambda m: -p[m])[:2]
    return {0: 1.0} | {1 + m: p[m] / sum(p[n] for n in best) for m in best}


def memories(x: Tensor, p: Weights, config: ModelConfig) -> Tensor:
    D, H, d, M = config.width, config.heads, config.width // config.heads, config.memories + 1
    wide = (2 * M + 1) * D
    maps = p["into.weight"]
    qkv = silu(convolved(x @ maps[:wide].T, p["conv.weight"])).unflatten(1, (2 * M + 1, H, d))
    S, out = torch.zeros(M, H, d, d).double(), []
    for t in range(len(x)):
        r, b, a = (maps[wide:] @ x[t]).split([D, M * H, M * H])
        read = torch.zeros(H, d).double()
        for m, share in routed(p["router.weight"], x[t]).items():
            for h in range(H):
                q, k, v = qkv[t, 0, h], qkv[t, 1 + m, h], qkv[t, 1 + M + m, h]
                q, k, n = q / q.dot(q).sqrt(), k / k.dot(k).sqrt(), m * H + h
                decay = (-p["A_log"][n].exp() * softplus(a[n] + p["dt_bias"][n])).exp()
                forget = torch.eye(d).double() - sigmoid(b[n]) * torch.outer(k, k)
                S[m, h] = decay * forget @ S[m, h] + sigmoid(b[n]) * torch.outer(k, v)
                read[h] += share * S[m, h].T @ q
        heads = [normed(read[h], p["norm"]) for h in range(H)]
        out.append(p["out.weight"] @ (silu(r) * torch.cat(heads)))
    return torch.stack(out)


@pytest.mark.parametrize("shape", [(2, 1, 8, 2), (2, 3, 6, 1), (1, 40, 12, 2)])
@pytest.mark.parametrize("options", [{}, {"memories": 2, "d_conv": 1}, {"memories": 7}])
def test_is_its_formula(shape: tuple[int, int, int, int], options: dict[str, int]) -> None:
    B, T, D, H = shape
    check_formula("memories", memories, B, T, width=D, heads=H, **options)


@torch.no_grad()
def test_a_memory_keeps_its_state_while_others_are_chosen() -> None:
    _, mixer = make("memories")
    x = inputs(1, 20, 8)
    _, state = mixer.prefill(x[:, :1])
    used = set()
    for t in range(1, 20):
        before = state.S.unflatten(1, (5, 2)).clone()
        _, state = mixer.step(x[:, t], state)
        moved = (state.S.unflatten(1, (5, 2)) != before).flatten(2).any(2)[0]
        assert moved[0] and int(moved.sum()) == 3
        used |= set(moved.nonzero().flatten().tolist())
    assert used == {0, 1, 2, 3, 4}


def test_training_adds_the_balance_of_every_router() -> None:
    config = {"width": 8, "heads": 2, "position": "none", "experts": 3}
    plain, weighed = (
        Model(ModelConfig(layers="memories*2", aux_loss_weight=w, **config), 7) for w in (0.0, 0.5)
    )
    weighed.load_state_dict(plain.state_dict())
    tokens = torch.arange(12).view(2, 6) % 7
    batch = Inputs(tokens, torch.ones(2, 5, dtype=torch.bool), None)
    losses = []
    for model in (plain.train(), weighed.train()):
        new_step(model)
        losses.append(teacher_forced(model, batch)[0])
    balance = balance_losses(weighed)
    assert len(balance) == 4, "two of memories, two of experts"
    assert torch.allclose(losses[1] - losses[0], 0.5 * torch.stack(balance).sum())
    assert torch.equal(teacher_forced(weighed.eval(), batch)[0], losses[0])
    losses[1].backward()
    routers = [p for name, p in weighed.named_parameters() if "router" in name]
    assert len(routers) == 4 and all(p.grad is not None and p.grad.any() for p in routers)
