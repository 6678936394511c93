"""Every recurrent mixer is its published formula, and has its gradient."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from lab.config import ModelConfig
from tests.recurrent import (
    NAMES,
    Weights,
    check_formula,
    convolved,
    every,
    inputs,
    make,
    normed,
    sigmoid,
    silu,
    softplus,
    taylor,
)


def lstm(x: Tensor, p: Weights, config: ModelConfig) -> Tensor:
    D = config.width
    h, c, out = torch.zeros(D).double(), torch.zeros(D).double(), []
    for t in range(len(x)):
        all_four = p["cell.weight_ih_l0"] @ x[t] + p["cell.bias_ih_l0"]
        all_four = all_four + p["cell.weight_hh_l0"] @ h + p["cell.bias_hh_l0"]
        i, f, g, o = all_four[:D], all_four[D : 2 * D], all_four[2 * D : 3 * D], all_four[3 * D :]
        c = sigmoid(f) * c + sigmoid(i) * g.tanh()
        h = sigmoid(o) * c.tanh()
        out.append(h)
    return torch.stack(out)


def gru(x: Tensor, p: Weights, config: ModelConfig) -> Tensor:
    D = config.width
    h, out = torch.zeros(D).double(), []
    for t in range(len(x)):
        a = p["cell.weight_ih_l0"] @ x[t] + p["cell.bias_ih_l0"]
        b = p["cell.weight_hh_l0"] @ h + p["cell.bias_hh_l0"]
        r, z = sigmoid(a[:D] + b[:D]), sigmoid(a[D : 2 * D] + b[D : 2 * D])
        n = (a[2 * D :] + r * b[2 * D :]).tanh()
        h = (1 - z) * n + z * h
        out.append(h)
    return torch.stack(out)


def mamba(x: Tensor, p: Weights, config: ModelConfig) -> Tensor:
    E, N, rank = config.expand * config.width, config.d_state, -(-config.width // 16)
    uz = x @ p["in_proj.weight"].T
    u, z = silu(convolved(uz[:, :E], p["conv.weight"], p["conv.bias"])), uz[:, E:]
    h, out = torch.zeros(E, N).double(), []
    for t in range(len(x)):
        low, B, C = (p["x_proj.weight"] @ u[t]).split([rank, N, N])
        delta = softplus(p["dt_weight"] @ low + p["dt_bias"])
        y = torch.zeros(E).double()
        for n in range(N):
            A = -p["A_log"][:, n].exp()
            h[:, n] = (delta * A).exp() * h[:, n] + delta * B[n] * u[t]
            y = y + C[n] * h[:, n]
        out.append(p["out.weight"] @ ((y + p["skip"] * u[t]) * silu(z[t])))
    return torch.stack(out)


def linear(x: Tensor, p: Weights, config: ModelConfig) -> Tensor:
    D, H, d = config.width, config.heads, config.width // config.heads
    S, out = torch.zeros(H, d, d).double(), []
    for t in range(len(x)):
        q, k, v, r = (p["qkvr.weight"] @ x[t]).split(D)
        a = sigmoid(p["decay.weight"] @ (p["low.weight"] @ x[t]) + p["decay.bias"]) ** (1 / 16)
        y = torch.zeros(D).double()
        for h in range(H):
            s = slice(h * d, (h + 1) * d)
            S[h] = torch.diag(a[s]) @ S[h] + torch.outer(k[s], v[s])
            y[s] = silu(r[s]) * normed(S[h].T @ q[s] / d**0.5, p["norm"])
        out.append(p["out.weight"] @ y)
    return torch.stack(out)


def deltanet(x: Tensor, p: Weights, config: ModelConfig) -> Tensor:
    D, H, d = config.width, config.heads, config.width // config.heads
    maps = p["into.weight"]
    qkv = silu(convolved(x @ maps[: 3 * D].T, p["conv.weight"]))
    S, out = torch.zeros(H, d, d).double(), []
    for t in range(len(x)):
        r, b, a = (maps[3 * D :] @ x[t]).split([D, H, H])
        y = torch.zeros(D).double()
        for h in range(H):
            q, k, v = (qkv[t, n * D + h * d : n * D + (h + 1) * d] for n in range(3))
            q, k = q / q.dot(q).sqrt(), k / k.dot(k).sqrt()
            decay = (-p["A_log"][h].exp() * softplus(a[h] + p["dt_bias"][h])).exp()
            forget = torch.eye(d).double() - sigmoid(b[h]) * torch.outer(k, k)
            S[h] = decay * forget @ S[h] + sigmoid(b[h]) * torch.outer(k, v)
            s = slice(h * d, (h + 1) * d)
            y[s] = silu(r[s]) * normed(S[h].T @ q, p["norm"])
        out.append(p["out.weight"] @ y)
    return torch.stack(out)


FORMULAS = {
    "lstm": lstm,
    "gru": gru,
    "mamba": mamba,
    "linear": linear,
    "deltanet": deltanet,
    "based": taylor,
}


@pytest.mark.parametrize("name", NAMES)
def test_every_mixer_has_a_formula(name: str) -> None:
    """Here, or in a test of its own."""
    own = Path(__file__).with_name(f"test_{name}.py")
    assert name in FORMULAS or "check_formula(" in own.read_text()


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("shape", [(2, 1, 8, 2), (2, 3, 6, 1), (1, 70, 20, 2)])
def test_is_its_formula(name: str, shape: tuple[int, int, int, int]) -> None:
    B, T, D, H = shape
    check_formula(name, FORMULAS[name], B, T, width=D, heads=H)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mamba", {"d_state": 3, "expand": 3, "d_conv": 2}),
        ("mamba", {"d_state": 1, "expand": 1, "d_conv": 1}),
        ("deltanet", {"d_conv": 1}),
        ("deltanet", {"d_conv": 7}),
        ("based", {"feature": 3, "d_conv": 2}),
        ("based", {"feature": 1, "d_conv": 1}),
    ],
)
def test_is_its_formula_with_other_options(name: str, options: dict[str, int]) -> None:
    check_formula(name, FORMULAS[name], 1, 9, **options)


@every
def test_gradients(name: str) -> None:
    small = {
        "mamba": {"d_state": 2},
        "based": {"feature": 2},
        "memories": {"memories": 3, "d_conv": 2},
    }.get(name, {})
    _, mixer = make(name, width=4, **small)
    names, weights = zip(*mixer.named_parameters(), strict=True)
    x = inputs(2, 5, 4).requires_grad_()

    def run(x: Tensor, *values: Tensor) -> Tensor:
        return functional_call(mixer, dict(zip(names, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(run, (x, *weights), atol=1e-7)
